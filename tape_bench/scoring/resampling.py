"""Other choices of proteins: drawn anew, or one left out, always whole clusters of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.clusters import joined
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.statistic import Rows, Statistic, Weights

_CELLS = 1 << 17
"""Weights drawn at once: few enough for the processor's cache, enough to keep numpy busy."""


@dataclass(frozen=True)
class Clusters:
    """Which proteins of a sample belong together, and so are drawn, left out or swapped as one."""

    of: NDArray[np.int64]
    """Number of each protein's cluster, `[proteins]`."""
    n: int

    @classmethod
    def among(cls, predictions: Sequence[Predictions], proteins: NDArray[np.int64]) -> Clusters:
        """Return the clusters of some proteins: together are those that any predictions join.

        Args:
            predictions: of the same examples in the same order.
            proteins: places among the examples.
        """
        named = [one.clusters for one in predictions if one.clusters is not None]
        if named and all(np.array_equal(one, named[0]) for one in named):
            named = named[:1]
        if not named or not len(proteins):
            return cls(np.arange(len(proteins)), len(proteins))
        of = named[0] if len(named) == 1 else joined(*(one.tolist() for one in named))
        names, numbers = np.unique(of[proteins], return_inverse=True)
        if len(names) == len(proteins):
            return cls(np.arange(len(proteins)), len(proteins))
        return cls(numbers.astype(np.int64), len(names))

    @property
    def single(self) -> bool:
        """Whether every protein stands alone."""
        return self.n == len(self.of)

    @property
    def worth(self) -> float:
        """As many clusters of one size would be as good: of 100 and 1, hardly more than one."""
        if self.single:
            return float(self.n)
        sizes = np.bincount(self.of)
        return float(sizes.sum() ** 2 / np.square(sizes).sum())

    def weights(self, of_clusters: Weights) -> Weights:
        """Give every protein the weight of its cluster, `[draws, proteins]`."""
        return of_clusters if self.single else of_clusters.take(self.of, axis=1)

    def summed(self, rows: Rows) -> Rows:
        """Add up the rows of each cluster's proteins, `[clusters, sums]`."""
        if self.single:
            return rows
        sums = np.zeros((self.n, rows.shape[1]))
        np.add.at(sums, self.of, rows)
        return sums


def bootstrap(
    statistics: Sequence[Statistic], clusters: Clusters, draws: int, seed: int
) -> NDArray[np.float64]:
    """Draw clusters with replacement, and compute every sample's score on the same draws.

    Args:
        statistics: One metric on the same proteins in the same order, of several predictions.
        clusters: Which of the proteins belong together.
        draws: Number of draws.
        seed: Seed; the result does not depend on the number of cores.

    Returns:
        Scores `[draws, samples]`, NaN where undefined.
    """
    size = _at_once(draws, statistics[0].n)
    starts = range(0, draws, size)
    # Each chunk has its own stream, so that threads cannot change what is drawn.
    streams = dict(zip(starts, np.random.SeedSequence(seed).spawn(len(starts)), strict=True))

    def chosen(start: int) -> Weights:
        return draw(np.random.default_rng(streams[start]), min(size, draws - start), clusters.n)

    return _scores(statistics, clusters, starts, chosen)


def leave_one_out(statistics: Sequence[Statistic], clusters: Clusters) -> NDArray[np.float64]:
    """Compute every sample's score without each of the clusters in turn.

    Returns:
        Scores `[clusters, samples]`, NaN where undefined.
    """
    size = _at_once(clusters.n, statistics[0].n)
    places = np.arange(clusters.n)

    def chosen(start: int) -> Weights:
        return np.asarray(places != places[start : start + size, None], np.float32)

    return _scores(statistics, clusters, range(0, clusters.n, size), chosen)


def draw(random: np.random.Generator, draws: int, n: int) -> Weights:
    """Draw n clusters out of n with replacement: how often each came, `[draws, n]`."""
    chosen = random.integers(0, n, size=(draws, n), dtype=np.int64)
    chosen += n * np.arange(draws)[:, None]
    return np.bincount(chosen.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float32)


def threads() -> int:
    """Return how many threads to use: no more than this process may, or `OMP_NUM_THREADS`."""
    usable = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    cores = len(usable(0))
    return min(cores, int(asked)) if asked.isdecimal() and int(asked) else cores


def _at_once(draws: int, n: int) -> int:
    return max(1, min(draws, _CELLS // n))


def _scores(
    statistics: Sequence[Statistic],
    clusters: Clusters,
    starts: Sequence[int],
    chosen: Callable[[int], Weights],
) -> NDArray[np.float64]:
    assert all(
        np.array_equal(statistic.proteins, statistics[0].proteins) for statistic in statistics
    )

    def chunk(start: int) -> NDArray[np.float64]:
        weights = clusters.weights(chosen(start))
        return np.asarray(type(statistics[0]).drawn_together(statistics, weights), np.float64)

    with ThreadPoolExecutor(threads()) as pool:
        return np.concatenate(list(pool.map(chunk, starts)))
