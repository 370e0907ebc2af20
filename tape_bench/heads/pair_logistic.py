"""Logistic regression on the products of two residues' channels, for every pair of a protein.

The scores of all pairs of a protein are X diag(w) Xᵀ, and the gradient is as cheap: nothing
larger than the contact map is ever made. Each protein weighs the same, however long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tape_bench.data.scorable import SMALLEST_SEPARATION
from tape_bench.heads.batches import Representations
from tape_bench.heads.lbfgs import Array
from tape_bench.heads.pair import logit
from tape_bench.heads.rows import CPU
from tape_bench.heads.solver import Start
from tape_bench.heads.standardize import Scaling
from tape_bench.scoring.contacts import contact_labels

MOST_PAIRS = 2**24
"""Pairs of residues to learn from, counted as squares of the lengths; of more, evenly spaced
proteins are taken."""


class PairLoss:
    """The mean cross-entropy of pairs, averaged over proteins, for several sets of weights."""

    def __init__(
        self,
        sequences: Sequence[str],
        coordinates: Sequence[NDArray[np.float64]],
        known: Representations,
        scaling: Scaling,
        device: torch.device = CPU,
    ) -> None:
        """Prepare to read proteins with coordinates `[residues, 3]`, NaN where not resolved."""
        self._device = device
        self._known = known
        self._scaling = scaling
        self.proteins: list[tuple[str, NDArray[np.int8]]] = []
        contacts, self._pairs = [], []
        for sequence, places in zip(sequences, coordinates, strict=True):
            labels = contact_labels(places)
            eligible = int((labels >= 0).sum())
            if eligible:
                self.proteins.append((sequence, labels))
                self._pairs.append(eligible)
                contacts.append(int((labels == 1).sum()) / eligible)
        self.rate = float(np.mean(contacts)) if contacts else 0.0

    def start(self) -> Start:
        """Begin at the share of contacts."""
        bias = logit(self.rate)
        share = 1 / (1 + np.exp(-bias))
        curvature = np.array([share * (1 - share)])
        return Start(np.array([bias]), curvature, curvature)

    def some(self, pairs: int) -> Iterator[Tensor]:
        """Yield products `[pairs, hidden]` of pairs evenly spaced over all, about so many."""
        each = -(-pairs // max(len(self.proteins), 1))
        for sequence, labels in self.proteins:
            x = self._vectors(sequence)
            first, second = np.nonzero(np.triu(labels >= 0, SMALLEST_SEPARATION))
            step = max(len(first) // each, 1)
            yield x[torch.from_numpy(first[::step])] * x[torch.from_numpy(second[::step])]

    def __call__(self, weights: Array, bias: Array) -> tuple[Array, Array, Array]:
        """Return losses and gradients; see `solver.Loss`."""
        by_weights = torch.zeros((len(weights), weights.shape[2]), dtype=torch.float64)
        by_bias = torch.zeros(len(weights), dtype=torch.float64)
        losses = self._losses(weights, bias, by_weights, by_bias)
        return losses, by_weights.numpy()[:, None], by_bias.numpy()[:, None]

    def losses(self, weights: Array, bias: Array) -> Array:
        """Return the mean loss for each set of weights, without gradients, `[penalties]`."""
        return self._losses(weights, bias, None, None)

    def _losses(
        self, weights: Array, bias: Array, by_weights: Tensor | None, by_bias: Tensor | None
    ) -> Array:
        losses = np.zeros(len(weights))
        count = max(len(self.proteins), 1)
        for (sequence, labels), pairs in zip(self.proteins, self._pairs, strict=True):
            x = self._vectors(sequence)
            truth = torch.from_numpy(labels).to(self._device)
            eligible = (truth >= 0).float().div_(pairs * count)
            truth = truth.clamp(min=0).float()
            for number, (own, own_bias) in enumerate(zip(weights, bias, strict=True)):
                scores = pair_logits(x, own[0], own_bias[0])
                lost = functional.binary_cross_entropy_with_logits(
                    scores, truth, weight=eligible, reduction="none"
                )
                losses[number] += float(lost.sum(dtype=torch.float64))
                if by_weights is not None and by_bias is not None:
                    error = scores.sigmoid_().sub_(truth).mul_(eligible)
                    by_bias[number] += error.sum(dtype=torch.float64).cpu()
                    by_weights[number] += (error @ x).mul_(x).sum(dim=0, dtype=torch.float64).cpu()
        return losses

    def _vectors(self, sequence: str) -> Tensor:
        return torch.from_numpy(self._scaling(self._known[sequence])).to(self._device)


def pair_logits(x: Tensor, weights: Array, bias: float) -> Tensor:
    """Return the logit of each pair `[residues, residues]` for vectors `[residues, hidden]`."""
    return ((x * torch.from_numpy(weights).float().to(x.device)) @ x.T).add_(float(bias))


def evenly_spaced(sequences: Sequence[str], most: int = MOST_PAIRS) -> slice:
    """Say which proteins to learn from, so that their pairs are no more than `most`."""
    squares = np.array([len(sequence) ** 2 for sequence in sequences])
    step = 1
    while squares[::step].sum() > most and step < len(squares):
        step += 1
    return slice(None, None, step)
