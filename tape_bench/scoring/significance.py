"""Whether one system is better than another: the same proteins, measured twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench.errors import NotComparableError
from tape_bench.scoring.intervals import Interval, of_draws
from tape_bench.scoring.metrics import Metric
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.resampling import Clusters, bootstrap
from tape_bench.scoring.statistic import Rows, Statistic

_CELLS = 1 << 21
"""Swaps drawn at once, to bound memory."""

_ROUNDING = 1e-12
"""Differences this close are the same number, computed in another order."""


@dataclass(frozen=True)
class Difference:
    """How much higher the metric is for the first system than for the second."""

    value: float | None
    interval: Interval | None
    n: int
    """Proteins the difference rests on."""
    n_clusters: int
    """Clusters of proteins that the interval rests on."""
    reason: str | None
    """Why there is no value or no interval; None where both are there."""


def paired_bootstrap(
    metric: Metric,
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    *,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Return the difference between two systems, with a bootstrap interval over proteins.

    Proteins that belong together, for either system, are drawn together. Every draw takes the same
    proteins for both systems, so that what makes a protein easy or hard
    for both cancels. With several seeds, a system's score is the mean over its seeds.

    Args:
        metric: What is compared.
        a: Predictions of the first system, one for each seed.
        b: Predictions of the second system for the same proteins, in any order.
        level: Confidence level of the interval.
        draws: Number of bootstrap draws.
        seed: Seed of the draws.

    Raises:
        NotComparableError: The systems were not measured on the same proteins and truth.
    """
    statistics, clusters = _statistics(metric, a, b)
    values = [statistic.value() for statistic in statistics]
    n = statistics[0].n
    for statistic, value in zip(statistics, values, strict=True):
        if value is None:
            return Difference(None, None, n, clusters.n, statistic.why_undefined())
    sign = np.repeat([1 / len(a), -1 / len(b)], [len(a), len(b)])
    difference = float(np.dot(np.array(values, dtype=np.float64), sign))
    if clusters.n < 2:
        few = f"fewer than two {'proteins' if clusters.single else 'clusters of proteins'}"
        return Difference(difference, None, n, clusters.n, few)
    drawn = bootstrap(statistics, clusters, draws, seed) @ sign
    interval = of_draws(difference, drawn, level, clusters)
    reason = None if interval else "the metric is undefined in too many bootstrap draws"
    return Difference(difference, interval, n, clusters.n, reason)


def permutation_test(
    metric: Metric,
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> float | None:
    """Return how often a difference as large, either way, arises if the systems are alike.

    If they are, it makes no odds which of the two predicted a protein: for every protein, or
    cluster of them, the systems swap what it adds to the metric, or do not, at random. All 2^n
    swaps are tried where there are no more than `permutations`; else the observed one counts as
    one of those drawn, so that p is never zero.

    With several seeds, a protein's contribution is its mean over the seeds. For correlations, what
    is swapped are standardised predictions, which systems on different scales have in common:
    z-scores among the system's own predictions for Pearson, z-scores of its own ranks for
    Spearman. These are not ranked anew, so the score of a swap is Pearson's.

    Returns:
        The two-sided p-value; None where the metric is undefined for one of the systems.

    Raises:
        NotComparableError: The systems were not measured on the same proteins and truth.
    """
    statistics, clusters = _statistics(metric, a, b)
    if any(statistic.value() is None for statistic in statistics):
        return None
    of, n = statistics[0], clusters.n
    rows_a = np.mean(
        [statistic.rows for statistic in statistics[: len(a)]], axis=0, dtype=np.float64
    )
    rows_b = np.mean(
        [statistic.rows for statistic in statistics[len(a) :]], axis=0, dtype=np.float64
    )
    total_a, total_b = rows_a.sum(axis=0), rows_b.sum(axis=0)
    change = clusters.summed(np.asarray(rows_b - rows_a))

    def difference(swaps: NDArray[np.float64]) -> Rows:
        moved = swaps @ change
        return of.of_sums(total_a + moved) - of.of_sums(total_b - moved)

    observed = float(difference(np.zeros((1, n)))[0])
    least = abs(observed) - _ROUNDING * max(1.0, abs(observed))
    exact = n < 63 and 2**n <= permutations
    number = 2**n if exact else permutations
    size = max(1, _CELLS // n)
    random = np.random.default_rng(seed)
    as_large = 0
    for start in range(0, number, size):
        chunk = np.arange(start, min(start + size, number))
        swaps = (
            (chunk[:, None] >> np.arange(n)) & 1
            if exact
            else random.integers(0, 2, size=(len(chunk), n), dtype=np.uint8)
        )
        as_large += int(np.count_nonzero(np.abs(difference(swaps.astype(np.float64))) >= least))
    return as_large / number if exact else (as_large + 1) / (number + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for having asked several questions at once (Holm 1979).

    Returns:
        Adjusted p-values in the order given: the smallest times their number, the next times one
        less, and so on, never falling, at most 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return [float(value) for value in adjusted]


def _statistics(
    metric: Metric, a: Sequence[Predictions], b: Sequence[Predictions]
) -> tuple[list[Statistic], Clusters]:
    """Return the samples of both systems, all over the same proteins in the same order."""
    first = a[0]
    matched = [_matched(one, first) for one in (*a, *b)]
    statistics = [metric.statistic(one) for one in matched]
    return statistics, Clusters.among(matched, statistics[0].proteins)


def _matched(predictions: Predictions, first: Predictions) -> Predictions:
    """Put predictions into the order of the first ones, and check that the truth is the same."""
    if predictions is first:
        return first
    missing = set(first.ids) ^ set(predictions.ids)
    if missing:
        some = ", ".join(sorted(missing)[:3])
        raise NotComparableError(
            f"the systems were not scored on the same proteins: {len(missing)} differ, e.g. {some}",
            fix="compare records of the same data, split and length policy",
        )
    same = predictions.reordered(first.ids)
    if not np.array_equal(same.targets, first.targets):
        raise NotComparableError(
            "the systems were scored against different measurements of the same proteins",
            fix="compare records of the same data and the same version of it",
        )
    return same
