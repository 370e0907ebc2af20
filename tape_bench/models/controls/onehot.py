"""One Hot: a residue is its letter and nothing else, the floor every model must clear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.vocabulary import LETTERS, TAPE_IUPAC
from tape_bench.errors import DataError, ModelError, UsageError
from tape_bench.models.embedder import Identity, Pool, Representation, check_request

_FIRST_LETTER = TAPE_IUPAC.tokens.index(LETTERS[0])


@dataclass(frozen=True)
class OneHot:
    """Represents each residue by a 1 at its letter, a protein by the mean over residues."""

    identity: Identity

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences: `[residues, 25]` each, or `[25]` for the mean.

        Raises:
            ModelError: an empty sequence, a letter outside the vocabulary, or pool `first`.
        """
        check_request(sequences, pool)
        refuse_first(self.identity.name, pool)
        residues = [one_hot(sequence) for sequence in sequences]
        return residues if pool == "residues" else [one.mean(axis=0) for one in residues]


def load(argument: str | None = None, *, device: str | None = None) -> OneHot:
    """Return the One Hot model; nothing is computed, so any device will do."""
    refuse_argument("onehot", argument)
    return OneHot(control_identity("onehot", hidden_size=len(LETTERS)))


def control_identity(
    name: str,
    *,
    hidden_size: int,
    kinds: tuple[str, ...] | None = None,
    only_head: str | None = None,
) -> Identity:
    """Describe a control: no weights, no pre-training, no limit of length."""
    return Identity(
        spec=name,
        name=name,
        revision="1",
        weights_digest=None,
        parameters=0,
        hidden_size=hidden_size,
        longest_input=None,
        pretraining=(),
        control=True,
        kinds=kinds,
        only_head=only_head,
    )


def one_hot(sequence: str) -> Representation:
    """Return a row for each residue with a 1 in the column of its letter, `[residues, 25]`."""
    letters = letter_indices(sequence)
    rows = np.zeros((len(letters), len(LETTERS)), np.float32)
    rows[np.arange(len(letters)), letters] = 1.0
    return rows


def letter_indices(sequence: str) -> NDArray[np.int64]:
    """Return the place of each residue's letter in `LETTERS`, `[residues]`.

    Raises:
        ModelError: an empty sequence, or a letter outside the vocabulary.
    """
    if not sequence:
        raise ModelError("an empty sequence has no representation", fix="remove the record")
    try:
        return TAPE_IUPAC.encode(sequence) - _FIRST_LETTER
    except DataError as error:
        raise ModelError(error.what, where=error.where, fix=error.fix) from None


def refuse_argument(name: str, argument: str | None) -> None:
    """Refuse `name:argument` for a model that has nothing to choose."""
    if argument is not None:
        raise UsageError(
            f"the model {name} takes no argument, but was given {argument!r}",
            fix=f"write just {name}",
        )


def refuse_first(name: str, pool: Pool) -> None:
    """Refuse pool `first` for a model without a first token."""
    if pool == "first":
        raise ModelError(
            f"the model {name} has no first token to pool by",
            fix="use pool 'mean' or 'residues'",
        )
