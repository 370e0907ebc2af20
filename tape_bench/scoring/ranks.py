"""Ranks with ties, also of a sample drawn with replacement: Spearman's correlation, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tape_bench.scoring.statistic import Rows, Statistic, Weights

_ROWS = 16
"""A cumulative sum down this many rows of a table adds whole rows at a time."""


def mid_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank values from 1; equal values share the mean of their ranks."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group]


@dataclass(frozen=True)
class RankedStatistic(Statistic):
    """Spearman's correlation: that of ranks, which each draw has its own of.

    `rows` hold the ranks among all proteins; a draw in which some proteins stand several times
    and others not at all is ranked anew.
    """

    measured: NDArray[np.float64] = field(kw_only=True)
    predicted: NDArray[np.float64] = field(kw_only=True)

    @cached_property
    def _measured_order(self) -> _Order:
        return _Order.of(self.measured)

    @cached_property
    def _predicted_order(self) -> _Order:
        return _Order.of(self.predicted)

    def drawn(self, weights: Weights) -> Rows:
        """Return the correlation of every draw, `[draws]`, NaN where it is undefined."""
        return self.drawn_together([self], weights)[:, 0]

    @classmethod
    def drawn_together(cls, statistics: Sequence[Self], weights: Weights) -> Rows:
        """Return the correlations, `[draws, samples]`, with the measured values ranked once."""
        # Clusters of unlike sizes make draws of unlike numbers of proteins. Whole numbers: exact.
        n = weights.sum(axis=1).astype(np.float64)
        x, spread_x = statistics[0]._measured_order.doubled_ranks(weights, n)
        x *= weights
        correlations = np.full((len(weights), len(statistics)), np.nan)
        for statistic, correlation in zip(statistics, correlations.T, strict=True):
            y, spread_y = statistic._predicted_order.doubled_ranks(weights, n)
            # Doubled and less one, ranks have the mean n whatever the ties.
            between = np.einsum("dp,dp->d", x, y, dtype=np.float64) - n**3
            scale = np.sqrt(spread_x * spread_y)
            np.divide(between, scale, out=correlation, where=scale > 0)
        return correlations


@dataclass(frozen=True)
class _Order:
    """Values sorted once, so that each draw's ranks are a cumulative sum of its weights.

    The sorted proteins fill a table `[_ROWS, columns]` down its columns; the last cells may stay
    over. Cells are numbered along the rows, as they lie in memory.
    """

    rising: NDArray[np.int64]
    """Which protein stands in each cell, `[_ROWS, columns]`."""
    last: NDArray[np.int64] | None
    """Cell in which each distinct value ends, `[distinct]`; None where all values differ."""
    own: NDArray[np.int64]
    """Cell of each protein or, where values repeat, which distinct value it has, `[proteins]`."""

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> _Order:
        n = len(values)
        columns = -(-n // _ROWS)
        place = np.arange(columns * _ROWS)
        cell = place % _ROWS * columns + place // _ROWS
        rising = np.zeros(columns * _ROWS, dtype=np.int64)
        rising[cell[:n]] = np.argsort(values, kind="stable")
        _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
        last = cell[np.cumsum(sizes) - 1]
        distinct = len(last) == n
        return cls(
            rising.reshape(_ROWS, columns),
            None if distinct else last,
            last[group] if distinct else group,
        )

    def doubled_ranks(self, weights: Weights, drawn_in_all: Rows) -> tuple[Rows, Rows]:
        """Rank the proteins of every draw: whole numbers, exact in float32 up to 8 million.

        A value drawn w times after b others has the mid-rank b + (w + 1) / 2, and ties take
        (w^3 - w) / 12 from the sum of squares (n^3 - n) / 12 of n untied ranks about their mean.

        Returns:
            Twice the mid-ranks less one `[draws, proteins]`, and their sums of squares about
            the mean `[draws]`.
        """
        draws, n = weights.shape
        table = weights.take(self.rising, axis=1)
        over = self.rising.size - n
        table[:, _ROWS - over :, -1] = 0
        up_to = table.copy()
        for row in range(1, _ROWS):
            up_to[:, row] += up_to[:, row - 1]
        whole = up_to[:, -1]
        up_to += (np.cumsum(whole, axis=1) - whole)[:, None]

        drawn, up_to = table.reshape(draws, -1), up_to.reshape(draws, -1)
        if self.last is not None:
            up_to = up_to.take(self.last, axis=1)
            drawn = np.diff(up_to, prepend=np.float32(0))
        up_to *= 2
        up_to -= drawn
        ties = np.einsum("dv,dv,dv->d", drawn, drawn, drawn, dtype=np.float64)
        return up_to.take(self.own, axis=1), (drawn_in_all**3 - ties) / 3
