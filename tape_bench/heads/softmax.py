"""Multinomial logistic regression on residues, on windows of residues, or on proteins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench.heads.lbfgs import Array
from tape_bench.heads.rows import Piece, Rows
from tape_bench.heads.solver import Start


class SoftmaxLoss:
    """The mean cross-entropy of items, for several sets of weights at once.

    Scores are linear in the vectors of the `window` rows around an item, itself in the middle;
    beyond a chain's ends they are zero. Weights have a row for each place of the window and,
    within it, each class: `[penalties, window * classes, hidden]`.
    """

    def __init__(
        self, rows: Rows, labels: Sequence[NDArray[np.int64]], classes: int, window: int = 1
    ) -> None:
        """Prepare to compare with labels, one array a protein; -1 counts for nothing."""
        assert rows.apart >= window // 2, "the window must not reach into the next protein"
        self.rows = rows
        self.labels = labels
        self.classes = classes
        self.window = window
        counts = np.zeros(classes, np.int64)
        for own in labels:
            counts += np.bincount(own[own >= 0], minlength=classes)
        self.counts = counts
        self.items = int(counts.sum())

    def start(self) -> Start:
        """Begin at the shares of the classes."""
        shares = (self.counts + 0.5) / (self.items + 0.5 * self.classes)
        curvature = np.maximum(shares * (1 - shares), 1 / (self.items + 1))
        return Start(np.log(shares), np.tile(curvature, self.window), curvature)

    def __call__(self, weights: Array, bias: Array) -> tuple[Array, Array, Array]:
        """Return losses and gradients; see `solver.Loss`."""
        count, _, hidden = weights.shape
        device = self.rows.device
        flat, offset = (one.to(device) for one in _laid_flat(weights, bias, self.window))
        losses = torch.zeros(count, dtype=torch.float64, device=device)
        by_weights = torch.zeros((len(flat), hidden), dtype=torch.float64, device=device)
        by_bias = torch.zeros((count, self.classes), dtype=torch.float64, device=device)
        for piece in self.rows:
            truth, labelled = self._truth(piece)
            scores = _scores(piece.vectors, flat, offset, self.window)
            logs = torch.log_softmax(scores.unflatten(0, (count, self.classes)), dim=1)
            index = truth.expand(count, 1, -1)
            lost = logs.gather(1, index).squeeze(1).mul_(labelled)
            losses -= lost.sum(dim=1, dtype=torch.float64)
            error = logs.exp_().scatter_add_(1, index, torch.full(index.shape, -1.0, device=device))
            error.mul_(labelled)
            by_bias += error.sum(dim=2, dtype=torch.float64)
            by_weights += _pulled(error.flatten(0, 1), self.window) @ piece.vectors
        by_weights = by_weights.unflatten(0, (self.window, count, self.classes)).movedim(0, 1)
        share = 1 / max(self.items, 1)
        found = (losses, by_weights.flatten(1, 2), by_bias)
        mean = [total.mul_(share).cpu().numpy() for total in found]
        return mean[0], mean[1], mean[2]

    def losses(self, weights: Array, bias: Array) -> Array:
        """Return the mean loss for each set of weights, without gradients, `[penalties]`."""
        count = len(weights)
        device = self.rows.device
        flat, offset = (one.to(device) for one in _laid_flat(weights, bias, self.window))
        losses = torch.zeros(count, dtype=torch.float64, device=device)
        for piece in self.rows:
            truth, labelled = self._truth(piece)
            scores = _scores(piece.vectors, flat, offset, self.window)
            logs = torch.log_softmax(scores.unflatten(0, (count, self.classes)), dim=1)
            lost = logs.gather(1, truth.expand(count, 1, -1)).squeeze(1).mul_(labelled)
            losses -= lost.sum(dim=1, dtype=torch.float64)
        return losses.cpu().numpy() / max(self.items, 1)

    def _truth(self, piece: Piece) -> tuple[Tensor, Tensor]:
        """Return the class of each row of a piece, and 1 where it has one, else 0, `[rows]`."""
        classes = np.full(len(piece.vectors), -1)
        classes[piece.items] = np.concatenate([self.labels[p] for p in piece.proteins])
        truth = torch.from_numpy(classes).to(self.rows.device)
        return truth.clamp(min=0), (truth >= 0).float()


def scores(rows: Rows, weights: Array, bias: Array, window: int) -> NDArray[np.float32]:
    """Return the scores of all items of a split for one set of weights, `[items, classes]`."""
    flat, offset = (one.to(rows.device) for one in _laid_flat(weights[None], bias[None], window))
    return np.concatenate([_of(piece, flat, offset, window) for piece in rows])


def _of(piece: Piece, flat: Tensor, offset: Tensor, window: int) -> NDArray[np.float32]:
    scored = _scores(piece.vectors, flat, offset, window).cpu().numpy()
    found: NDArray[np.float32] = scored.T[piece.items]
    return found


def _laid_flat(weights: Array, bias: Array, window: int) -> tuple[Tensor, Tensor]:
    """Return float32 weights `[window * penalties * classes, hidden]` and the bias beside them."""
    by_place = torch.from_numpy(weights).float().unflatten(1, (window, -1)).movedim(1, 0)
    return by_place.flatten(0, 2).contiguous(), torch.from_numpy(bias).float().flatten()


def _scores(vectors: Tensor, flat: Tensor, bias: Tensor, window: int) -> Tensor:
    """Return the scores of every row, `[penalties * classes, rows]`."""
    # A product with few rows is twice as fast as one with few columns.
    parts = flat @ vectors.T
    if window == 1:
        return parts.add_(bias[:, None])
    width, reach = len(bias), window // 2
    found = bias[:, None].repeat(1, len(vectors))
    inner = found[:, reach : len(vectors) - reach]
    for place in range(window):
        end = len(vectors) - window + 1 + place
        inner += parts[place * width : (place + 1) * width, place:end]
    return found


def _pulled(error: Tensor, window: int) -> Tensor:
    """Return what each row is to blame for, by place, `[window * penalties * classes, rows]`."""
    if window == 1:
        return error
    width, rows = error.shape
    reach = window // 2
    found = error.new_zeros((window * width, rows))
    inner = error[:, reach : rows - reach]
    for place in range(window):
        found[place * width : (place + 1) * width, place : rows - window + 1 + place] = inner
    return found
