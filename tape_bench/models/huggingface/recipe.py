"""How a model is read: which tokens stand for residues, and what goes around a sequence.

Every residue is looked up in the model's vocabulary by itself. No tokenizer is asked for the tokens
of a sequence: they merge unknown letters, drop or invent tokens and lower letters, none of which
raises an error, and any of which moves each residue's vector to another residue.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tape_bench.data.vocabulary import LETTERS, Vocabulary
from tape_bench.errors import ModelError

LARGEST_RECIPE = 1 << 16
"""Bytes that a recipe file may have."""

Letter = Annotated[str, Field(pattern="^[A-Z]$")]


class Recipe(BaseModel):
    """All that must be known of a model beyond its files."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    family: str = "own"
    """What messages and records call the kind of model."""
    architecture: str = Field(pattern="^[A-Z][A-Za-z0-9]*$")
    """Class of transformers that represents residues, e.g. `BertModel`."""
    masked: str | None = Field(default=None, pattern="^[A-Z][A-Za-z0-9]*$")
    """Class of transformers that scores masked residues as well, e.g. `BertForMaskedLM`."""
    residue: str = "{}"
    """The token of a residue, its letter being `{}`; `▁{}` where sentences were spaced out."""
    letters: dict[Letter, str] = Field(default_factory=dict)
    """Letters that are read as another letter, or as a special token, e.g. `U` as `X`."""
    before: tuple[str, ...] = ()
    """Tokens put before the residues."""
    after: tuple[str, ...] = ()
    """Tokens put after them."""
    pad: str
    """Token of the empty places behind shorter sequences; they are never attended to."""
    mask: str | None = None
    """Token of a hidden residue."""
    longest: int | None = Field(default=None, ge=1)
    """Most residues a sequence may have; None for no limit."""
    float16: bool = True
    """Whether it can be computed in float16."""
    note: str | None = None
    """What its user should know."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Recipe:
        if "{}" not in self.residue:
            raise ValueError("residue has no {} for the letter")
        if self.masked is not None and self.mask is None:
            raise ValueError("masked is a class that scores hidden residues: name the mask token")
        return self

    @property
    def special_tokens(self) -> int:
        """Tokens that go around each sequence."""
        return len(self.before) + len(self.after)


@dataclass(frozen=True)
class Letters(Vocabulary):
    """A model's vocabulary, in which each residue letter has one token.

    `cls` and `sep` are the tokens before and after a sequence, -1 where there is none, as `mask`.
    """

    of_letter: tuple[tuple[str, int], ...] = ()
    """Token id of each letter that the model can be given."""

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """Token id of each byte, -1 for bytes that are no letter of the model's, `[256]`."""
        table = np.full(256, -1, np.int64)
        for letter, id in self.of_letter:
            table[ord(letter)] = id
        return table

    def ids_of(self, tokens: Sequence[str]) -> tuple[int, ...]:
        """Return the ids of special tokens, in order."""
        return tuple(self.tokens.index(token) for token in tokens)


def vocabulary(recipe: Recipe, ids: Mapping[str, int], where: str) -> Letters:
    """Look every letter and special token of a recipe up.

    Args:
        recipe: how the model is read.
        ids: its tokens, and their rows in its table of embeddings.
        where: the model, for messages.

    Raises:
        ModelError: one of the twenty residues or of the special tokens is not in the vocabulary.
    """

    def id_of(token: str) -> int:
        if token not in ids:
            raise ModelError(
                f"its vocabulary has no token {token!r}, which a model of this kind "
                f"({recipe.family}) is read with",
                where=where,
                fix="see that tokenizer and weights belong together, or describe the model in a "
                "recipe: -M recipe=FILE.toml",
            )
        return ids[token]

    found = {}
    for letter in LETTERS:
        read_as = recipe.letters.get(letter, letter)
        token = recipe.residue.format(read_as) if len(read_as) == 1 else read_as
        if letter in "ACDEFGHIKLMNPQRSTVWY" or token in ids:
            found[letter] = id_of(token)
    tokens = [""] * (max(ids.values()) + 1)
    for token, id in ids.items():
        tokens[id] = token
    return Letters(
        name=f"{recipe.family}-{len(tokens)}",
        tokens=tuple(tokens),
        pad=id_of(recipe.pad),
        mask=id_of(recipe.mask) if recipe.mask else -1,
        cls=id_of(recipe.before[0]) if recipe.before else -1,
        sep=id_of(recipe.after[0]) if recipe.after else -1,
        of_letter=tuple(found.items()),
    )


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from a TOML file.

    Raises:
        ModelError: it cannot be read, or has faults; all are listed.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_RECIPE + 1)
    except OSError as error:
        raise ModelError(
            f"cannot read the recipe: {error.strerror}", where=str(path), fix="give a TOML file"
        ) from None
    if len(text) > LARGEST_RECIPE:
        raise ModelError("too large for a recipe", where=str(path), fix="give a TOML file")
    try:
        given = tomllib.loads(text.decode())
        for name in ("before", "after"):
            if isinstance(given.get(name), list):
                given[name] = tuple(given[name])
        return Recipe.model_validate(given)
    except ValidationError as error:
        faults = "\n".join(
            f"  - {'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise ModelError(
            f"not a recipe:\n{faults}",
            where=str(path),
            fix="docs/models.md, 'A model nobody has heard of', has one to start from",
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"no TOML: {error}", where=str(path), fix="correct the file") from None
