"""Confidence intervals: how much a score would move had other proteins been measured.

What is resampled are clusters: proteins that belong together are no independent evidence. With
many clusters the percentiles of a bootstrap will do. With few they are too narrow, and too near
to the middle of the scale for shares near 0, errors and high correlations: there, the score is
varied by leaving out one cluster at a time (the jackknife), on the scale on which its errors are
even, and Student's t says how far. `benchmarks/interval_coverage.md` shows what this achieves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench.scoring.metrics import Metric, Scale
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.resampling import Clusters, bootstrap, leave_one_out

VERSION = 2
"""Changes when the same predictions get another interval."""

FEW = 100
"""Clusters worth fewer than this are too few for a bootstrap of a single score."""

UNDEFINED_DRAWS = 0.05
"""Largest share of draws without a score that an interval can pass over."""


@dataclass(frozen=True)
class Interval:
    """Where the score lies with this much confidence."""

    level: float
    low: float
    high: float
    method: str
    draws: int
    """Bootstrap draws; none where the interval is computed without drawing."""
    n_clusters: int
    """Clusters of proteins that the interval rests on."""


def interval(
    metric: Metric,
    predictions: Sequence[Predictions],
    *,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval | None:
    """Return the interval of a metric over the choice of proteins, whole clusters at a time.

    The score is the mean over the seeds of the run, every seed on the same proteins: the interval
    is about the choice of proteins, not about that of seeds.

    Args:
        metric: What was computed.
        predictions: Predictions for the same examples, one for each seed of the run.
        level: Confidence level.
        draws: Number of bootstrap draws, should there be clusters enough for a bootstrap.
        seed: Seed of the draws; the same seed gives the same interval.

    Returns:
        The interval, or None where the score itself is undefined, rests on fewer than two
        clusters, or is undefined without a cluster or in more than one draw of twenty.
    """
    statistics = [metric.statistic(one) for one in predictions]
    values = [
        value for value in (statistic.value() for statistic in statistics) if value is not None
    ]
    clusters = Clusters.among(predictions, statistics[0].proteins)
    if clusters.n < 2 or len(values) < len(statistics):
        return None
    score = float(np.mean(values))
    if metric.scale == "share" and score in (0, 1):
        telling = [clusters.summed(np.abs(one.rows)).any(axis=1) for one in statistics]
        return _of_share(score, max(int(np.any(telling, axis=0).sum()), 2), level, clusters)
    if clusters.worth < FEW:
        return _jackknifed(
            metric.scale, score, leave_one_out(statistics, clusters).mean(axis=1), level, clusters
        )
    scores = bootstrap(statistics, clusters, draws, seed).mean(axis=1)
    return of_draws(score, scores, level, clusters)


def of_draws(
    score: float, scores: NDArray[np.float64], level: float, clusters: Clusters
) -> Interval | None:
    """Return the middle of the scores of bootstrap draws `[draws]`, NaN for undefined ones.

    Stretched about the score by what a bootstrap of n clusters lacks: it knows neither that their
    spread is estimated (Student's t) nor that it is theirs, about their own mean.
    """
    defined = scores[np.isfinite(scores)]
    if len(defined) < (1 - UNDEFINED_DRAWS) * len(scores):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    freedom = _freedom(clusters)
    stretch = _reach(level, freedom) / _reach(level, math.inf) * math.sqrt(1 + 1 / freedom)
    return Interval(
        level,
        float(score - stretch * (score - low)),
        float(score + stretch * (high - score)),
        f"percentile bootstrap over {_counted(clusters)}",
        len(defined),
        clusters.n,
    )


def _jackknifed(
    scale: Scale, score: float, without: NDArray[np.float64], level: float, clusters: Clusters
) -> Interval | None:
    """Return the interval from the scores without each cluster, `[clusters]`."""
    if not np.isfinite(without).all():
        return None
    if scale == "share" and 0 < score < 1 and (spread := _spread(without)):
        return _of_share(score, score * (1 - score) / spread**2, level, clusters)
    there, back, name = _SCALES.get(scale, _PLAIN)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle, moved = there(np.float64(score)), there(without)
    if not np.isfinite(middle) or not np.isfinite(moved).all():
        middle, moved, back, name = np.asarray(score), without, *_PLAIN[1:]
    reach = _reach(level, _freedom(clusters)) * _spread(moved)
    method = f"jackknife over {_counted(clusters)}, Student's t{name}"
    return Interval(
        level, float(back(middle - reach)), float(back(middle + reach)), method, 0, clusters.n
    )


def _of_share(share: float, n: float, level: float, clusters: Clusters) -> Interval:
    """Return Wilson's interval of a share that n independent yes-or-no answers would give.

    With n from the jackknife it is the number of answers that would be as uncertain as these.
    """
    squared = _reach(level, _freedom(clusters)) ** 2 / n
    middle = (share + squared / 2) / (1 + squared)
    reach = math.sqrt(squared * (share * (1 - share) + squared / 4)) / (1 + squared)
    method = f"Wilson's interval over {_counted(clusters)}, Student's t"
    low, high = max(middle - reach, 0.0), min(middle + reach, 1.0)
    # Rounding must not push an end beyond the score itself.
    return Interval(level, min(low, share), max(high, share), method, 0, clusters.n)


def _spread(without: NDArray[np.float64]) -> float:
    """Return the jackknife's standard error."""
    n = len(without)
    return float(np.sqrt((n - 1) / n * np.sum((without - without.mean()) ** 2)))


def _freedom(clusters: Clusters) -> float:
    """Return the degrees of freedom that the spread of clusters rests on."""
    return max(clusters.worth - 1, 1.0)


def _reach(level: float, freedom: float) -> float:
    """Return the quantile of Student's t that holds the middle of it."""
    # scipy takes longer to start than everything else here.
    from scipy import special

    if math.isinf(freedom):
        return float(special.ndtri((1 + level) / 2))
    return float(special.stdtrit(freedom, (1 + level) / 2))


def _counted(clusters: Clusters) -> str:
    if clusters.single:
        return "proteins"
    return f"{clusters.n} clusters of {len(clusters.of)} proteins"


_Change = Callable[..., NDArray[np.float64]]

_PLAIN: tuple[_Change, _Change, str] = (np.asarray, np.asarray, "")
_SCALES: Mapping[Scale, tuple[_Change, _Change, str]] = {
    "error": (np.log, np.exp, " on logarithms"),
    "correlation": (np.arctanh, np.tanh, " on Fisher's z"),
}
"""The scale on which a score's errors are even: there, back, and its name."""
