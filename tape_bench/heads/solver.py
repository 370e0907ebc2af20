"""Convex heads solved to a tolerance, in coordinates where the problem is nearly round.

Channels of a language model go together, so that the loss is a narrow valley, and a plain
descent wanders in it for hundreds of passes over the data. In the eigenvectors of the features'
second moments, each divided by the root of its curvature, it is nearly a bowl, and a dozen
passes do. Several penalties are solved at once, for what a pass costs is mostly the reading.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from tape_bench.errors import ModelError
from tape_bench.heads.lbfgs import Array, lbfgs, norms


class Loss(Protocol):
    """A mean loss over items, linear in the features before it."""

    def __call__(self, weights: Array, bias: Array) -> tuple[Array, Array, Array]:
        """Return losses and gradients.

        Args:
            weights: `[penalties, scores, hidden]`.
            bias: `[penalties, biases]`.

        Returns:
            The mean loss for each penalty, the penalty itself left out, `[penalties]`; and its
            gradients by weights and bias.
        """


@dataclass(frozen=True)
class Spectrum:
    """Eigenvectors `[hidden, hidden]` and eigenvalues `[hidden]` of the mean of x xᵀ."""

    vectors: Array
    values: Array

    @classmethod
    def of(cls, pieces: Iterable[Tensor], hidden: int) -> Self:
        """Decompose features `[rows, hidden]` that come in pieces, summed in float64."""
        total = torch.zeros((hidden, hidden), dtype=torch.float64)
        rows = 0
        for piece in pieces:
            total += (piece.T @ piece).cpu()
            rows += len(piece)
        values, vectors = torch.linalg.eigh(total / max(rows, 1))
        return cls(vectors.numpy(), values.clamp(min=0).numpy())


@dataclass(frozen=True)
class Solution:
    """The minimum for each of some penalties."""

    weights: Array
    """`[penalties, scores, hidden]`."""
    bias: Array
    """`[penalties, biases]`."""
    gradients: Array
    """Norm of the gradient at the end, as a share of that at zero weights, `[penalties]`."""
    evaluations: int
    """Of the loss on train, for all penalties at once."""
    at_zero: tuple[Array, Array]
    """The gradient at zero weights, by weights `[scores, hidden]` and bias `[biases]`."""


@dataclass(frozen=True)
class Start:
    """Where to begin, and how the loss curves there."""

    bias: Array
    """The bias that is best while all weights are zero, `[biases]`."""
    curvature: Array
    """Second derivative of the loss by each score, `[scores]`."""
    bias_curvature: Array
    """Second derivative of the loss by each bias, `[biases]`."""


def solve(
    loss: Loss,
    penalties: Array,
    spectrum: Spectrum,
    start: Start,
    tolerance: float,
    near: Solution | None = None,
    most: int = 300,
) -> Solution:
    """Minimise loss + penalty / 2 * |weights|² for each penalty; the bias is not penalised.

    Args:
        loss: the mean loss on train.
        penalties: `[penalties]`.
        spectrum: of the features.
        start: where to begin.
        tolerance: how far the gradient must fall, as a share of that at zero weights.
        near: where to begin: the solution for a neighbouring penalty, or for each on a subset,
            whose gradient at zero is then the one that is compared with.
        most: evaluations of the loss after which to stop in any case.

    Raises:
        ModelError: a loss that is not finite.
    """
    count, hidden = len(penalties), len(spectrum.values)
    scores, biases = len(start.curvature), len(start.bias)
    curves = start.curvature[:, None] * spectrum.values + penalties[:, None, None]
    lengths = 1 / np.sqrt(np.maximum(curves, np.finfo(np.float32).tiny))
    bias_lengths = 1 / np.sqrt(start.bias_curvature)

    def unpack(flat: Array) -> tuple[Array, Array]:
        turned = flat[:, biases:].reshape(count, scores, hidden) * lengths
        return turned @ spectrum.vectors.T, start.bias + flat[:, :biases] * bias_lengths

    def told(flat: Array) -> tuple[Array, Array]:
        weights, bias = unpack(flat)
        losses, by_weights, by_bias = loss(weights, bias)
        if not np.isfinite(losses).all():
            raise ModelError(
                f"the loss of the head is {losses[~np.isfinite(losses)][0]}",
                fix="look at the representations for extreme values",
            )
        return by_weights + penalties[:, None, None] * weights, by_bias

    def turned(by_weights: Array, by_bias: Array) -> Array:
        found = (by_weights @ spectrum.vectors) * lengths
        return np.concatenate([by_bias * bias_lengths, found.reshape(count, -1)], axis=1)

    def gradient(flat: Array) -> Array:
        return turned(*told(flat))

    begin = np.zeros((count, biases + scores * hidden))
    if near is None:
        by_weights, by_bias = told(begin)
        # No penalty has a say at zero weights: it is the same for all.
        at_zero = by_weights[0], by_bias[0]
    else:
        at_zero = near.at_zero
    slopes = turned(at_zero[0][None], np.tile(at_zero[1], (count, 1)))
    target = tolerance * norms(slopes)
    evaluations = 1
    if near is not None:
        begin[:, :biases] = (near.bias - start.bias) / bias_lengths
        rotated = (near.weights @ spectrum.vectors) / lengths
        begin[:, biases:] = rotated.reshape(len(rotated), -1)
        slopes = gradient(begin)
    flat, slopes, more = lbfgs(gradient, begin, slopes, target, most - evaluations)
    weights, bias = unpack(flat)
    shares = np.divide(norms(slopes), target, out=np.zeros(count), where=target > 0) * tolerance
    return Solution(weights, bias, shares, evaluations + more, at_zero)
