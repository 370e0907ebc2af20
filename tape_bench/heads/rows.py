"""A split's standardised vectors end to end, in pieces that are the same each time.

Sums over pieces are taken in float64, and the pieces follow from the split alone. So what is
solved on them does not depend on the number of threads, and hardly on the processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench.errors import ModelError
from tape_bench.heads.batches import Representations
from tape_bench.heads.standardize import Scaling

CPU = torch.device("cpu")

PIECE = 2048
"""Rows a piece has, unless a single protein is longer."""

RESIDUES = 512
"""Rows of a piece of residues, which go through the processor's cache at each evaluation."""

MEMORY_LIMIT = 1 << 30
"""Bytes of standardised vectors that are kept; more are read again each time."""


@dataclass(frozen=True)
class Piece:
    """Some proteins of a split, one after the other."""

    proteins: range
    """Their places in the split."""
    vectors: Tensor
    """Standardised, `[rows, hidden]`."""
    items: NDArray[np.int64]
    """Which row each item (residue, or protein) is in, `[items]`."""


class Rows:
    """The vectors of a split: read, standardised, and kept where they fit in memory."""

    def __init__(
        self,
        sequences: Sequence[str],
        known: Representations,
        scaling: Scaling,
        *,
        apart: int = 0,
        device: torch.device = CPU,
    ) -> None:
        """Lay a split out.

        Args:
            sequences: its proteins.
            known: their representations, `[residues, hidden]` or `[hidden]`.
            scaling: how to standardise them.
            apart: rows of zeros before, between and after the proteins of a piece.
            device: where the vectors lie once they are standardised.
        """
        self.sequences = sequences
        self.apart = apart
        self.device = device
        self._known = known
        self._scaling = scaling
        self.hidden = len(scaling.mean)
        self._pooled = bool(sequences) and known[sequences[0]].ndim == 1
        self.lengths = [1] * len(sequences) if self._pooled else [len(one) for one in sequences]
        self._groups = list(
            _groups(self.lengths, apart, PIECE if self._pooled else min(PIECE, RESIDUES))
        )
        self.size = 4 * self.hidden * (sum(self.lengths) + apart * (len(sequences) + 1))
        """Bytes of the standardised vectors."""
        self._kept: list[Piece] | None = [] if self.size <= MEMORY_LIMIT else None

    @property
    def kept(self) -> bool:
        """Whether the vectors stay in memory once they are read."""
        return self._kept is not None

    def __iter__(self) -> Iterator[Piece]:
        if self._kept is None:
            return map(self._piece, self._groups)
        if not self._kept:
            self._kept = [self._piece(group) for group in self._groups]
        return iter(self._kept)

    def some(self, rows: int) -> Iterator[Piece]:
        """Yield pieces evenly spaced over the split, with about so many rows at most."""
        step = -(-sum(self.lengths) // rows)
        if self._kept is not None:
            return iter(list(self)[::step])
        return map(self._piece, self._groups[::step])

    def _piece(self, proteins: range) -> Piece:
        lengths = [self.lengths[protein] for protein in proteins]
        shape = sum(lengths) + self.apart * (len(proteins) + 1), self.hidden
        filled = np.zeros(shape, np.float32) if self.apart else np.empty(shape, np.float32)
        if self._pooled:
            for row, protein in enumerate(proteins):
                filled[row] = self._known[self.sequences[protein]]
            self._scaling.into(filled, filled)
            return Piece(proteins, self._placed(filled), np.arange(len(proteins)))
        items: list[NDArray[np.int64]] = []
        begin = self.apart
        for protein, length in zip(proteins, lengths, strict=True):
            end = begin + length
            self._scaling.into(filled[begin:end], self._known[self.sequences[protein]])
            items.append(np.arange(begin, end))
            begin = end + self.apart
        return Piece(proteins, self._placed(filled), np.concatenate(items))

    def _placed(self, filled: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(filled).to(self.device)


def scaling_of(sequences: Sequence[str], known: Representations) -> Scaling:
    """Measure the channels of a split.

    Raises:
        ModelError: a representation with a value that is not finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        scaling = Scaling.of(np.atleast_2d(known[sequence]) for sequence in sequences)
    if not (np.isfinite(scaling.mean).all() and np.isfinite(scaling.deviation).all()):
        raise ModelError(
            "representations of the training split hold values that are not finite, or too "
            "large to square",
            fix="look at what the model returns; in half precision, try float32",
        )
    return scaling


def _groups(lengths: Sequence[int], apart: int, most: int) -> Iterator[range]:
    first, rows = 0, 0
    for protein, length in enumerate(lengths):
        if rows and rows + length > most:
            yield range(first, protein)
            first, rows = protein, 0
        rows += length + apart
    if rows:
        yield range(first, len(lengths))
