"""A model that is one function of the user's: sequences in, one array each out.

What it gives is found out by asking it: rows for residues or one vector a sequence, and how wide.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from tape_bench.errors import ModelError, UsageError
from tape_bench.models.embedder import Embedder, Identity, Pool, Representation, check_request
from tape_bench.models.user_code import users_code

Function = Callable[[list[str]], Any]
"""Sequences to a list of arrays, or to one array whose rows are the sequences'."""

_ASKED = ("ACDEFGHIKLMNPQRSTVWY", "MKT")
"""Proteins of two lengths, so that rows of residues are told from vectors."""


class FunctionModel:
    """An `Embedder` around a function; see `from_function`."""

    def __init__(self, function: Function, name: str, spec: str) -> None:
        self.function = function
        self._name, self._spec = name, spec

    @cached_property
    def _gives(self) -> tuple[bool, int]:
        """Whether it gives rows of residues, and how wide they are."""
        answers = self._asked(list(_ASKED))
        shapes = [answer.shape for answer in answers]
        width = shapes[0][-1] if shapes[0] else 0
        if shapes == [(len(asked), width) for asked in _ASKED] and width:
            return True, width
        if shapes == [(width,)] * len(_ASKED) and width:
            return False, width
        raise ModelError(
            f"the function {self._name} gave arrays of shapes {', '.join(map(str, shapes))} for "
            f"proteins of {' and '.join(str(len(asked)) for asked in _ASKED)} residues",
            where=self._spec,
            fix="let it return for each sequence an array [residues, width], or all of them "
            "[width]; without vectors of special tokens",
        )

    @cached_property
    def identity(self) -> Identity:
        """Who the model is; the first look at it asks the function."""
        residues, width = self._gives
        return Identity(
            spec=self._spec,
            name=self._name,
            revision="function",
            weights_digest=None,
            parameters=0,
            hidden_size=width,
            longest_input=None,
            pretraining=None,
            reading={"gives": "residues" if residues else "one vector a sequence"},
            kinds=None if residues else ("sequence_class", "sequence_value"),
        )

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Ask the function; see `Embedder.embed`.

        Raises:
            ModelError: it does not give what is asked for.
        """
        check_request(sequences, pool)
        residues, _ = self._gives
        if pool == "first" or (pool == "residues" and not residues):
            raise ModelError(
                f"the function {self._name} gives "
                + ("no first token" if residues else "one vector a sequence")
                + f", and {pool} is asked for",
                where=self._spec,
                fix="use pool 'mean'",
            )
        answers = self._asked(list(sequences))
        if pool == "mean" and residues:
            return [answer.mean(axis=0) for answer in answers]
        return answers

    def _asked(self, sequences: list[str]) -> list[Representation]:
        with users_code(f"the model {self._name}: the function"):
            given = self.function(sequences)
            # Tensors on a GPU, or with gradients, say of themselves how they become arrays.
            answers = [_as_array(one) for one in given]
        if len(answers) != len(sequences):
            raise ModelError(
                f"the function {self._name} gave {len(answers)} answers to {len(sequences)} "
                "sequences",
                where=self._spec,
                fix="let it return one array for each sequence, in the order given",
            )
        return answers


def from_function(function: Function, name: str | None = None, spec: str | None = None) -> Embedder:
    """Make a model of a function.

    What it rests on is looked for where the function is, as for a user's class.

    Args:
        function: sequences to a list of arrays `[residues, width]` or `[width]`, or to one array
            `[sequences, width]`; NumPy's, torch's, or lists of numbers.
        name: what stands in tables; the function's own if not given.
        spec: what the user typed; `python:NAME` if not given.

    Raises:
        UsageError: it cannot be called with sequences alone, or a lambda was given no name.
    """
    named = name or getattr(function, "__name__", type(function).__name__)
    if not named or named == "<lambda>":
        raise UsageError("a lambda has no name", fix='give it one: evaluate(…, name="mine")')
    if not takes_sequences(function):
        raise UsageError(
            f"{named} cannot be called with a list of sequences alone",
            fix="let it take one argument, the sequences",
        )
    module = getattr(function, "__module__", None) or "__main__"
    if module.partition(".")[0] in sys.stdlib_module_names:
        module = "__main__"
    kind = type("FunctionModel", (FunctionModel,), {"__module__": module})
    made: Embedder = kind(function, named, spec or f"python:{named}")
    return made


def takes_sequences(function: object) -> bool:
    """Tell whether something is called with sequences, and with nothing else."""
    if not callable(function) or isinstance(function, type):
        return False
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # compiled, and does not say
        return True
    needed = [
        one
        for one in signature.parameters.values()
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
    ]
    try:
        signature.bind([])
    except TypeError:
        return False
    return len(needed) == 1


def _as_array(given: Any) -> Representation:
    if hasattr(given, "detach"):
        given = given.detach().float().cpu().numpy()
    return np.asarray(given, np.float32)
