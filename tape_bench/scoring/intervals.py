"""Confidence intervals: how much a figure would move had other proteins been measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench.scoring.metrics import Metric
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.resampling import bootstrap

UNDEFINED_DRAWS = 0.05
"""Largest share of draws without a figure that an interval can pass over."""


@dataclass(frozen=True)
class Interval:
    """Where the figure lies with this much confidence."""

    level: float
    low: float
    high: float
    method: str
    draws: int


def interval(
    metric: Metric,
    predictions: Sequence[Predictions],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Return the percentile bootstrap interval of a metric, resampling proteins.

    The proteins that the metric can score are drawn with replacement, the same for every seed of
    the run, and the figure of a draw is the mean over seeds: the interval is about the choice of
    proteins, not about that of seeds.

    Args:
        metric: What was computed.
        predictions: Predictions for the same examples, one for each seed of the run.
        level: Share of the draws' figures between the ends.
        draws: Number of bootstrap draws.
        seed: Seed of the draws; the same seed gives the same interval.

    Returns:
        The interval, or None where the figure itself is undefined, rests on fewer than two
        proteins, or is undefined in more than one draw of twenty.
    """
    samples = [metric.sample(one) for one in predictions]
    if samples[0].n < 2 or any(sample.value() is None for sample in samples):
        return None
    return of_draws(bootstrap(samples, draws, seed).mean(axis=1), level)


def of_draws(figures: NDArray[np.float64], level: float) -> Interval | None:
    """Return the middle of the figures of bootstrap draws `[draws]`, NaN for undefined ones."""
    defined = figures[np.isfinite(figures)]
    if len(defined) < (1 - UNDEFINED_DRAWS) * len(figures):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        level, float(low), float(high), "percentile bootstrap over proteins", len(defined)
    )
