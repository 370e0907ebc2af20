"""Errors and correlations of predicted values: fluorescence, stability."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.ranks import RankedStatistic, mid_ranks
from tape_bench.scoring.statistic import Rows, Statistic, left_out_by, ratio

Mode = tuple[str, float]
"""Which measured values count: `(">", 2.5)` or `("<=", 2.5)`."""

_ROUNDING = 1e-12
"""A spread this small beside the values themselves is rounding, not signal."""


def squared_error(predictions: Predictions, mode: Mode | None = None) -> Statistic:
    """Mean of (predicted - measured) squared."""
    return _mean_error(predictions, mode, np.square)


def absolute_error(predictions: Predictions, mode: Mode | None = None) -> Statistic:
    """Mean of |predicted - measured|."""
    return _mean_error(predictions, mode, np.abs)


def pearson(predictions: Predictions, mode: Mode | None = None) -> Statistic:
    """Linear correlation of predicted with measured values."""
    proteins, measured, predicted, left_out = _chosen(predictions, mode)
    rows = _moments(_standard(measured), _standard(predicted))
    undefined = _why_no_correlation(measured, predicted)
    return Statistic(proteins, rows, correlation, left_out, undefined)


def spearman(predictions: Predictions, mode: Mode | None = None) -> Statistic:
    """Rank correlation of predicted with measured values, equal values sharing their mean rank."""
    proteins, measured, predicted, left_out = _chosen(predictions, mode)
    rows = _moments(_standard(mid_ranks(measured)), _standard(mid_ranks(predicted)))
    undefined = _why_no_correlation(measured, predicted)
    return RankedStatistic(
        proteins, rows, correlation, left_out, undefined, measured=measured, predicted=predicted
    )


def correlation(sums: Rows) -> Rows:
    """Pearson's formula over sums of `(1, x, y, xx, yy, xy)`, NaN where x or y do not vary."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    varies = (spread_x > _ROUNDING * n * xx) & (spread_y > _ROUNDING * n * yy)
    between = (n * xy - x * y) / np.sqrt(np.where(varies, spread_x * spread_y, 1))
    return np.where(varies, np.clip(between, -1, 1), np.nan)


def _mean_error(
    predictions: Predictions, mode: Mode | None, size: Callable[[Rows], Rows]
) -> Statistic:
    proteins, measured, predicted, left_out = _chosen(predictions, mode)
    rows = np.stack([size(predicted - measured), np.ones_like(measured)], axis=1)
    return Statistic(proteins, rows, ratio, left_out)


def _chosen(
    predictions: Predictions, mode: Mode | None
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], dict[str, int]]:
    """Return the places, measured and predicted values of the proteins in this mode."""
    measured = predictions.targets.astype(np.float64)
    if mode is None:
        return np.arange(len(measured)), measured, predictions.values.astype(np.float64), {}
    side, threshold = mode
    inside = measured > threshold if side == ">" else measured <= threshold
    proteins, left_out = left_out_by({f"measured value not {side} {threshold:g}": ~inside})
    return proteins, measured[proteins], predictions.values[proteins].astype(np.float64), left_out


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift to mean 0 and scale to spread 1, so that two systems' values share a scale.

    The shift is in two steps, which turn equal values into exact zeros.
    """
    if not len(values):
        return values
    shifted = values - values[0]
    shifted -= shifted.mean()
    return np.asarray(shifted / (shifted.std() or 1.0), np.float64)


def _moments(x: NDArray[np.float64], y: NDArray[np.float64]) -> Rows:
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def _why_no_correlation(measured: NDArray[np.float64], predicted: NDArray[np.float64]) -> str:
    if len(measured) < 2:
        return "fewer than two proteins"
    if np.ptp(measured) == 0:
        return "all measured values are equal"
    return "all predicted values are equal"
