"""Composition: which residues stand nearby, in no order; shows what counting letters is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.vocabulary import LETTERS
from tape_bench.models.controls.onehot import (
    control_identity,
    one_hot,
    refuse_argument,
    refuse_first,
)
from tape_bench.models.embedder import Identity, Pool, Representation, check_request

WINDOW = 15
"""Residues of the window around a residue, itself in the middle."""


@dataclass(frozen=True)
class Composition:
    """Represents a residue by the letters of the window around it, a protein by all its letters.

    The last channel is the natural logarithm of the protein's length.
    """

    identity: Identity

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences: `[residues, 26]` each, or `[26]` for the whole protein.

        Raises:
            ModelError: an empty sequence, a letter outside the vocabulary, or pool `first`.
        """
        check_request(sequences, pool)
        refuse_first(self.identity.name, pool)
        represent = _windows if pool == "residues" else _whole
        return [represent(one_hot(sequence)) for sequence in sequences]


def load(argument: str | None = None, *, device: str | None = None) -> Composition:
    """Return the composition control; it only counts, so any device will do."""
    refuse_argument("composition", argument)
    return Composition(control_identity("composition", hidden_size=len(LETTERS) + 1))


def _whole(letters: Representation) -> Representation:
    return np.append(letters.mean(axis=0), np.log(len(letters))).astype(np.float32)


def _windows(letters: Representation) -> Representation:
    """Return fractions over the residues really there: windows are cut at the chain's ends."""
    length = len(letters)
    places = np.arange(length)
    start = np.maximum(places - WINDOW // 2, 0)
    stop = np.minimum(places + WINDOW // 2 + 1, length)
    counts: NDArray[np.float64] = np.zeros((length + 1, letters.shape[1]))
    np.cumsum(letters, axis=0, out=counts[1:])
    fractions = (counts[stop] - counts[start]) / (stop - start)[:, None]
    return np.column_stack([fractions, np.full(length, np.log(length))]).astype(np.float32)
