"""The luck of training: how far a figure moves from one seed to another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

BySeed = Mapping[int, float]
"""Seed of a run -> its figure."""


@dataclass(frozen=True)
class Luck:
    """How surely seeds fix the difference of two runs."""

    error: float
    """Standard error of the difference."""
    freedom: int
    """Degrees of freedom the error rests on."""


def luck(a: BySeed, b: BySeed) -> Luck | None:
    """Estimate the luck in the difference of two runs' means over seeds.

    Runs of the same seeds are paired by seed; others share one variance, as in Student's test.
    None where a single seed each says nothing.
    """
    count = len(a)
    if a.keys() == b.keys():
        differences = [b[seed] - a[seed] for seed in a]
        if count < 2:
            return None
        return Luck(float(np.std(differences, ddof=1)) / math.sqrt(count), count - 1)
    freedom = len(a) + len(b) - 2
    if freedom < 1 or not a or not b:
        return None
    squares = sum(float(np.var(list(side.values()))) * len(side) for side in (a, b))
    return Luck(math.sqrt(squares / freedom * (1 / len(a) + 1 / len(b))), freedom)


def widened(
    difference: float, low: float, high: float, luck: Luck, level: float
) -> tuple[float, float]:
    """Widen an interval over proteins by the luck of training, the two being independent."""
    from scipy import stats

    reach = float(stats.t.ppf((1 + level) / 2, luck.freedom)) * luck.error
    return (
        difference - math.hypot(difference - low, reach),
        difference + math.hypot(high - difference, reach),
    )
