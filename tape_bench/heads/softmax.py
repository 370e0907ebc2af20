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
        flat, offset = _laid_flat(weights, bias, self.window)
        losses = torch.zeros(count, dtype=torch.float64)
        by_weights = torch.zeros((len(flat), hidden), dtype=torch.float64)
        by_bias = torch.zeros((count, self.classes), dtype=torch.float64)
        for piece in self.rows:
            labels = torch.from_numpy(np.concatenate([self.labels[p] for p in piece.proteins]))
            labelled = labels >= 0
            items = torch.from_numpy(piece.items)[labelled]
            truth = labels[labelled]
            scores = _scores(piece.vectors, flat, offset, self.window)[items]
            logs = torch.log_softmax(scores.unflatten(1, (count, self.classes)), dim=2)
            index = truth[:, None, None].expand(-1, count, 1)
            losses -= logs.gather(2, index).squeeze(2).sum(dim=0, dtype=torch.float64)
            error = logs.exp_().scatter_add_(2, index, torch.full(index.shape, -1.0))
            by_bias += error.sum(dim=0, dtype=torch.float64)
            by_weights += (
                _pulled(error.flatten(1), items, len(piece.vectors), self.window).T @ piece.vectors
            )
        by_weights = by_weights.unflatten(0, (self.window, count, self.classes)).movedim(0, 1)
        share = 1 / max(self.items, 1)
        found = (losses, by_weights.flatten(1, 2), by_bias)
        mean = [total.mul_(share).numpy() for total in found]
        return mean[0], mean[1], mean[2]

    def losses(self, weights: Array, bias: Array) -> Array:
        """Return the mean loss for each set of weights, without gradients, `[penalties]`."""
        count = len(weights)
        flat, offset = _laid_flat(weights, bias, self.window)
        losses = torch.zeros(count, dtype=torch.float64)
        for piece in self.rows:
            labels = torch.from_numpy(np.concatenate([self.labels[p] for p in piece.proteins]))
            items = torch.from_numpy(piece.items)[labels >= 0]
            scores = _scores(piece.vectors, flat, offset, self.window)[items]
            logs = torch.log_softmax(scores.unflatten(1, (count, self.classes)), dim=2)
            index = labels[labels >= 0][:, None, None].expand(-1, count, 1)
            losses -= logs.gather(2, index).squeeze(2).sum(dim=0, dtype=torch.float64)
        return losses.numpy() / max(self.items, 1)


def scores(rows: Rows, weights: Array, bias: Array, window: int) -> NDArray[np.float32]:
    """Return the scores of all items of a split for one set of weights, `[items, classes]`."""
    flat, offset = _laid_flat(weights[None], bias[None], window)
    return np.concatenate([_of(piece, flat, offset, window) for piece in rows])


def _of(piece: Piece, flat: Tensor, offset: Tensor, window: int) -> NDArray[np.float32]:
    found: NDArray[np.float32] = _scores(piece.vectors, flat, offset, window).numpy()[piece.items]
    return found


def _laid_flat(weights: Array, bias: Array, window: int) -> tuple[Tensor, Tensor]:
    """Return float32 weights `[window * penalties * classes, hidden]` and the bias beside them."""
    by_place = torch.from_numpy(weights).float().unflatten(1, (window, -1)).movedim(1, 0)
    return by_place.flatten(0, 2).contiguous(), torch.from_numpy(bias).float().flatten()


def _scores(vectors: Tensor, flat: Tensor, bias: Tensor, window: int) -> Tensor:
    """Return the scores of every row, `[rows, penalties * classes]`."""
    parts = vectors @ flat.T
    if window == 1:
        return parts.add_(bias)
    width, reach = len(bias), window // 2
    found = bias.repeat(len(vectors), 1)
    inner = found[reach : len(vectors) - reach]
    for place in range(window):
        end = len(vectors) - window + 1 + place
        inner += parts[place:end, place * width : (place + 1) * width]
    return found


def _pulled(error: Tensor, items: Tensor, rows: int, window: int) -> Tensor:
    """Return what each row is to blame for, by place, `[rows, window * penalties * classes]`."""
    whole = error.new_zeros((rows, error.shape[1]))
    whole[items] = error
    if window == 1:
        return whole
    width, reach = error.shape[1], window // 2
    found = error.new_zeros((rows, window * width))
    inner = whole[reach : rows - reach]
    for place in range(window):
        found[place : rows - window + 1 + place, place * width : (place + 1) * width] = inner
    return found
