"""Seed variance: how far a score moves from one seed to another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BySeed = Mapping[int, float]
"""Seed of a run -> its score."""


@dataclass(frozen=True)
class SeedVariance:
    """How surely seeds fix the difference of two runs."""

    error: float
    """Standard error of the difference."""
    freedom: float
    """Degrees of freedom the error rests on."""


def untold(sides: Sequence[tuple[str, BySeed | None]]) -> str | None:
    """Say why seed variance cannot be told for some of the sides, or return None.

    One seed says nothing, nor does the same one on both sides: it makes another head of every
    model's representations.

    Args:
        sides: name of the model, and its scores by seed; None for a head that is solved.
    """
    lone = [name for name, scores in sides if scores is not None and len(scores) < 2]
    if not lone:
        return None
    return (
        f"the head of {' and of '.join(lone)} was trained with one seed, so seed variance "
        "is unknown: use several seeds (--seeds 0,1,2), or a head that is solved"
    )


def seed_variance(a: BySeed | None, b: BySeed | None) -> SeedVariance | None:
    """Estimate the seed variance of the difference of two runs' means over seeds.

    Runs of the same seeds are paired by seed; of others, each brings its own variance, as in
    Welch's test. A head that is solved (None) brings none, and two such none at all.
    """
    if a is not None and b is not None and a.keys() == b.keys():
        return _of_mean([b[seed] - a[seed] for seed in a])
    variances = [_of_mean(list(side.values())) for side in (a, b) if side is not None]
    if not variances:
        return None
    squares = [variance.error**2 for variance in variances]
    parts = sum(
        square**2 / variance.freedom for square, variance in zip(squares, variances, strict=True)
    )
    least = min(variance.freedom for variance in variances)
    return SeedVariance(math.sqrt(sum(squares)), sum(squares) ** 2 / parts if parts else least)


def widened(
    difference: float, low: float, high: float, variance: SeedVariance, level: float
) -> tuple[float, float]:
    """Widen an interval over proteins by seed variance, the two being independent."""
    from scipy import stats

    reach = float(stats.t.ppf((1 + level) / 2, variance.freedom)) * variance.error
    return (
        difference - math.hypot(difference - low, reach),
        difference + math.hypot(high - difference, reach),
    )


def _of_mean(scores: Sequence[float]) -> SeedVariance:
    """Return how surely scores, one a seed, fix their mean."""
    count = len(scores)
    return SeedVariance(float(np.std(scores, ddof=1)) / math.sqrt(count), count - 1)
