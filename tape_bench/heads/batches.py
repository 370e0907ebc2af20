"""Representations and targets of one split, handed to a head in batches.

There is one class for each shape of problem. Each knows how to put proteins into a batch and
how to take a head's scores apart again. Where proteins are padded, a mask of their real residues
comes along, so that a protein's scores need not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from tape_bench.data.scorable import SMALLEST_SEPARATION
from tape_bench.heads.standardize import Scaling
from tape_bench.scoring.contacts import contact_labels

Representations = Mapping[str, NDArray[np.float32]]
"""By sequence: `[residues, hidden]`, or `[hidden]` where they are pooled."""

MOST_PAIRS = 2**20
"""Pairs of residues, padding included, that may share a batch; a deep head takes 9 kB for each."""


@dataclass(frozen=True)
class Batch:
    """What a head gets, what it should say, and which proteins of the split these are."""

    inputs: tuple[Tensor, ...]
    targets: Tensor
    rows: list[int]

    def to(self, device: torch.device) -> Batch:
        """Return the same on a device."""
        return Batch(
            tuple(one.to(device) for one in self.inputs), self.targets.to(device), self.rows
        )


class Batches(Protocol):
    """A split, ready to train on or to predict."""

    def shuffled(self, generator: Generator) -> Iterator[Batch]:
        """Yield every protein once, in random order."""

    def in_order(self) -> Iterator[Batch]:
        """Yield every protein once, the same way each time."""

    def take_apart(self, batch: Batch, scores: Tensor) -> list[Tensor]:
        """Return the scores of each protein of the batch."""


class ProteinBatches:
    """One vector a protein, one target a protein."""

    def __init__(
        self, features: NDArray[np.float32], targets: NDArray[np.float32 | np.int64], size: int
    ) -> None:
        """Batch standardised features `[proteins, hidden]`, `size` proteins at a time."""
        self.features = torch.from_numpy(features)
        self.targets = torch.from_numpy(targets)
        self.size = size

    def shuffled(self, generator: Generator) -> Iterator[Batch]:
        """Yield every protein once, in random order."""
        return self._batches(torch.randperm(len(self.targets), generator=generator))

    def in_order(self) -> Iterator[Batch]:
        """Yield every protein once, as the split has them."""
        return self._batches(torch.arange(len(self.targets)))

    def take_apart(self, batch: Batch, scores: Tensor) -> list[Tensor]:
        """Return one row of scores a protein."""
        return list(scores.unsqueeze(1))

    def _batches(self, order: Tensor) -> Iterator[Batch]:
        for rows in order.split(self.size):
            yield Batch((self.features[rows],), self.targets[rows], rows.tolist())


class TokenBatches:
    """One vector a residue, one class a residue; proteins of like length share a batch."""

    def __init__(
        self,
        sequences: Sequence[str],
        labels: Sequence[NDArray[np.int64]],
        representations: Representations,
        scaling: Scaling,
        size: int,
    ) -> None:
        """Batch proteins so that together, padding included, they have `size` residues."""
        self.sequences = sequences
        self.labels = labels
        self.representations = representations
        self.scaling = scaling
        self.size = size
        self.lengths = np.array([len(sequence) for sequence in sequences], np.int64)

    def shuffled(self, generator: Generator) -> Iterator[Batch]:
        """Yield every protein once, in random order but beside others of about its length."""
        order = torch.randperm(len(self.lengths), generator=generator).numpy()
        like = order[np.argsort(self.lengths[order] // 16, kind="stable")]
        groups = self._groups(like)
        for index in torch.randperm(len(groups), generator=generator).tolist():
            yield self._batch(groups[index])

    def in_order(self) -> Iterator[Batch]:
        """Yield every protein once, by length."""
        return map(self._batch, self._groups(np.argsort(self.lengths, kind="stable")))

    def take_apart(self, batch: Batch, scores: Tensor) -> list[Tensor]:
        """Return `[residues, classes]` of each protein."""
        return [own[: self.lengths[row]] for row, own in zip(batch.rows, scores, strict=True)]

    def _groups(self, order: NDArray[np.int64]) -> list[list[int]]:
        groups: list[list[int]] = []
        longest = 0
        for row in order.tolist():
            longest = max(longest, int(self.lengths[row]))
            if not groups or (len(groups[-1]) + 1) * longest > self.size:
                groups.append([])
                longest = int(self.lengths[row])
            groups[-1].append(row)
        return groups

    def _batch(self, rows: list[int]) -> Batch:
        width = int(self.lengths[rows].max())
        hidden = len(self.scaling.mean)
        features = np.zeros((len(rows), width, hidden), np.float32)
        targets = np.full((len(rows), width), -1, np.int64)
        for place, row in enumerate(rows):
            length = self.lengths[row]
            features[place, :length] = self.scaling(self.representations[self.sequences[row]])
            targets[place, :length] = self.labels[row]
        mask = torch.from_numpy(np.arange(width) < self.lengths[rows, None])
        return Batch((torch.from_numpy(features), mask), torch.from_numpy(targets), rows)


class PairBatches:
    """One vector a residue, one label a pair of residues; proteins of like length share a batch.

    Labels follow from the coordinates each time: that is quicker than the head, and the labels
    of a large set would fill the memory.
    """

    def __init__(
        self,
        sequences: Sequence[str],
        coordinates: Sequence[NDArray[np.float64]],
        representations: Representations,
        scaling: Scaling,
        size: int,
    ) -> None:
        """Batch up to `size` proteins with coordinates `[residues, 3]`, NaN where not resolved."""
        self.sequences = sequences
        self.coordinates = coordinates
        self.representations = representations
        self.scaling = scaling
        self.size = size

    def shuffled(self, generator: Generator) -> Iterator[Batch]:
        """Yield every protein once, in random order but beside others of about its length."""
        order = torch.randperm(len(self.sequences), generator=generator).tolist()
        return map(self._batch, self._groups(order))

    def in_order(self) -> Iterator[Batch]:
        """Yield every protein once, the same way each time."""
        return map(self._batch, self._groups(list(range(len(self.sequences)))))

    def take_apart(self, batch: Batch, scores: Tensor) -> list[Tensor]:
        """Return the contact probability of each scored pair, upper triangle by rows."""
        parts = []
        for row, padded in zip(batch.rows, scores, strict=True):
            length = len(self.sequences[row])
            own = padded[:length, :length]
            scored = torch.ones_like(own, dtype=torch.bool).triu(SMALLEST_SEPARATION)
            parts.append(torch.sigmoid(own[scored]))
        return parts

    def _groups(self, order: list[int]) -> list[list[int]]:
        groups: list[list[int]] = []
        longest = 0
        for row in sorted(order, key=lambda row: len(self.sequences[row]) // 16):
            length = len(self.sequences[row])
            longest = max(longest, length)
            if not groups or len(groups[-1]) >= min(self.size, MOST_PAIRS // longest**2):
                groups.append([])
                longest = length
            groups[-1].append(row)
        turn = {row: place for place, row in enumerate(order)}
        return sorted(groups, key=lambda rows: turn[rows[0]])

    def _batch(self, rows: list[int]) -> Batch:
        lengths = [len(self.sequences[row]) for row in rows]
        width = max(lengths)
        features = np.zeros((len(rows), width, len(self.scaling.mean)), np.float32)
        targets = np.full((len(rows), width, width), -1, np.int8)
        for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            features[place, :length] = self.scaling(self.representations[self.sequences[row]])
            targets[place, :length, :length] = contact_labels(self.coordinates[row])
        inputs: tuple[Tensor, ...] = (torch.from_numpy(features),)
        if min(lengths) < width:
            inputs += (torch.from_numpy(np.arange(width) < np.array(lengths)[:, None]),)
        return Batch(inputs, torch.from_numpy(targets), rows)
