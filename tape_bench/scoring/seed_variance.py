"""The luck of training: how far a figure moves from one seed to another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BySeed = Mapping[int, float]
"""Seed of a run -> its figure."""


@dataclass(frozen=True)
class Luck:
    """How surely seeds fix the difference of two runs."""

    error: float
    """Standard error of the difference."""
    freedom: float
    """Degrees of freedom the error rests on."""


def untold(sides: Sequence[tuple[str, BySeed | None]]) -> str | None:
    """Say why the luck of training cannot be told for some of the sides, or return None.

    One seed says nothing, nor does the same one on both sides: it makes another head of every
    model's representations.

    Args:
        sides: name of the model, and its figures by seed; None for a head that is solved.
    """
    lone = [name for name, figures in sides if figures is not None and len(figures) < 2]
    if not lone:
        return None
    return (
        f"the head of {' and of '.join(lone)} was trained with one seed, so the luck of training "
        "is unknown: use several seeds (--seeds 0,1,2), or a head that is solved"
    )


def luck(a: BySeed | None, b: BySeed | None) -> Luck | None:
    """Estimate the luck in the difference of two runs' means over seeds.

    Runs of the same seeds are paired by seed; of others, each brings its own variance, as in
    Welch's test. A head that is solved (None) brings none, and two such no luck at all.
    """
    if a is not None and b is not None and a.keys() == b.keys():
        return _of_mean([b[seed] - a[seed] for seed in a])
    lucks = [_of_mean(list(side.values())) for side in (a, b) if side is not None]
    if not lucks:
        return None
    squares = [luck.error**2 for luck in lucks]
    parts = sum(square**2 / luck.freedom for square, luck in zip(squares, lucks, strict=True))
    least = min(luck.freedom for luck in lucks)
    return Luck(math.sqrt(sum(squares)), sum(squares) ** 2 / parts if parts else least)


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


def _of_mean(figures: Sequence[float]) -> Luck:
    """Return how surely figures, one a seed, fix their mean."""
    count = len(figures)
    return Luck(float(np.std(figures, ddof=1)) / math.sqrt(count), count - 1)
