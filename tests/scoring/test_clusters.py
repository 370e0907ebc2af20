"""Proteins that belong together are drawn, left out and swapped together."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from tape_bench.results.predictions import read_predictions, write_predictions
from tape_bench.scoring.intervals import interval
from tape_bench.scoring.metrics import find
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.resampling import Clusters, threads
from tape_bench.scoring.significance import paired_bootstrap, permutation_test

MSE, PEARSON, SPEARMAN = (find(name, "sequence_value") for name in ("mse", "pearson", "spearman"))
TOP1 = find("accuracy.top1", "sequence_class")


def _values(predict, n, seed, noise=1.0):
    measured = np.random.default_rng(99).normal(size=n)
    said = measured + noise * np.random.default_rng(seed).normal(size=n)
    return predict.values(measured, said)


def _twice(predictions: Predictions) -> Predictions:
    """Every protein twice, as where one sequence stands in two records."""
    ids = tuple(f"{id}{twin}" for id in predictions.ids for twin in "ab")
    return Predictions(
        predictions.kind, ids, predictions.lengths.repeat(2), predictions.values.repeat(2, axis=0),
        predictions.targets.repeat(2), np.arange(len(predictions.ids)).repeat(2),
    )  # fmt: skip


@pytest.mark.parametrize("n", [20, 150])
@pytest.mark.parametrize("metric", [MSE, PEARSON, SPEARMAN], ids=lambda metric: metric.definition)
def test_a_protein_that_stands_twice_counts_once(predict, metric, n):
    a, b = (_values(predict, n, seed) for seed in (1, 2))
    once = interval(metric, [a], draws=200)
    twice = interval(metric, [_twice(a)], draws=200)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), rel=1e-5)
    assert (once.n_clusters, twice.n_clusters) == (n, n)
    assert f"over {n} clusters of {2 * n} proteins" in twice.method
    assert "over proteins" in once.method
    # Told nothing, the interval would be narrower by the square root of two.
    careless = interval(metric, [replace(_twice(a), clusters=None)], draws=200)
    assert careless.high - careless.low < 0.8 * (twice.high - twice.low)

    difference, doubled = (
        paired_bootstrap(metric, [of(a)], [of(b)], draws=200) for of in (lambda one: one, _twice)
    )
    assert doubled.interval.low == pytest.approx(difference.interval.low, rel=1e-5)
    assert (doubled.n, doubled.n_clusters) == (2 * n, n)
    p = permutation_test(metric, [a], [b], permutations=499)
    assert permutation_test(metric, [_twice(a)], [_twice(b)], permutations=499) == p


def test_drawn_clusters_agree_with_scipy(predict):
    sizes = np.random.default_rng(0).integers(1, 6, size=150)
    predictions = replace(_values(predict, sizes.sum(), 3), clusters=np.arange(150).repeat(sizes))
    errors = (predictions.values.astype(float) - predictions.targets) ** 2
    sums = np.bincount(predictions.clusters, errors)
    expected = stats.bootstrap(
        (sums, sizes), lambda s, n, axis: s.sum(axis=axis) / n.sum(axis=axis), paired=True,
        vectorized=True, method="percentile", n_resamples=4000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    got = interval(MSE, [predictions], draws=4000)
    width = expected.high - expected.low
    assert got.low == pytest.approx(expected.low, abs=0.06 * width)
    assert got.high == pytest.approx(expected.high, abs=0.06 * width)


def test_few_clusters_by_leaving_each_out(predict):
    clusters = np.array([0, 0, 0, 1, 2, 2, 3, 3, 3, 4])
    predictions = replace(_values(predict, 10, 4), clusters=clusters)
    x, y = predictions.values.astype(float), predictions.targets
    scores = {
        MSE: (lambda keep: np.log(np.mean((x - y)[keep] ** 2)), np.exp),
        PEARSON: (lambda keep: np.arctanh(stats.pearsonr(x[keep], y[keep])[0]), np.tanh),
        SPEARMAN: (lambda keep: np.arctanh(stats.spearmanr(x[keep], y[keep])[0]), np.tanh),
    }
    for metric, (figure, back) in scores.items():
        without = np.array([figure(clusters != left_out) for left_out in range(5)])
        error = np.sqrt(4 / 5 * np.sum((without - without.mean()) ** 2))
        # Sizes 3, 1, 2, 3, 1: worth 100 / 24 clusters of one size.
        low, high = stats.t.interval(0.95, 100 / 24 - 1, loc=figure(clusters >= 0), scale=error)
        got = interval(metric, [predictions])
        assert (got.low, got.high) == pytest.approx((back(low), back(high)), rel=1e-4)
        assert (got.draws, got.n_clusters) == (0, 5)


@pytest.mark.parametrize(("right", "n"), [(0, 12), (12, 12), (0, 500), (500, 500), (3, 12)])
def test_shares_of_few_and_of_none_or_all_are_wilsons(predict, right, n):
    true = np.zeros(n, int)
    calls = np.eye(2)[(np.arange(n) >= right).astype(int)]
    got = interval(TOP1, [predict.folds(true, calls)])
    # Scipy takes a normal quantile: ask for the level whose quantile is Student's.
    level = 2 * stats.norm.cdf(stats.t.ppf(0.975, n - 1)) - 1
    if right in (0, n):
        expected = stats.binomtest(right, n).proportion_ci(level, "wilson")
        assert (got.low, got.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    else:
        # The jackknife divides by n - 1: a share of 11 answers.
        squared = stats.t.ppf(0.975, n - 1) ** 2 / (n - 1)
        middle = (right / n + squared / 2) / (1 + squared)
        assert (got.low + got.high) / 2 == pytest.approx(middle)


def test_proteins_that_cannot_be_scored_take_their_cluster_with_them(predict):
    predictions = replace(
        predict.called([[-1], [0, 1], [-1], [1, 1]], [[0], [0, 1], [0], [1, 0]]),
        clusters=np.array([5, 7, 7, 8]),
    )
    statistic = find("accuracy.pooled", "token_class").statistic(predictions)
    assert Clusters.among([predictions], statistic.proteins).n == 2


def test_what_either_of_two_systems_joins_is_joined(predict):
    a, b = (_values(predict, 6, seed) for seed in (5, 6))
    a = replace(a, clusters=np.array([0, 0, 1, 2, 3, 4]))
    b = replace(b, clusters=np.array([0, 1, 1, 2, 3, 4]))
    assert paired_bootstrap(MSE, [a], [b], draws=50).n_clusters == 4
    # A file from before clusters were kept joins nothing.
    assert paired_bootstrap(MSE, [a], [replace(b, clusters=None)], draws=50).n_clusters == 5


def test_clusters_are_swapped_whole(predict):
    clusters = np.array([0, 1, 0, 2, 2, 1])
    a, b = (replace(_values(predict, 6, seed), clusters=clusters) for seed in (7, 8))
    errors = [(one.values.astype(float) - one.targets) ** 2 for one in (a, b)]

    def difference(swap):
        return np.mean(
            np.where(np.array(swap)[clusters], errors[1] - errors[0], errors[0] - errors[1])
        )

    observed = abs(difference([False] * 3))
    swaps = itertools.product([False, True], repeat=3)
    expected = np.mean([abs(difference(swap)) >= observed - 1e-12 for swap in swaps])
    assert permutation_test(MSE, [a], [b]) == pytest.approx(expected)


def test_clusters_are_kept_and_move_with_their_proteins(predict, tmp_path):
    plain = _values(predict, 4, 9)
    told = replace(plain, clusters=np.array([3, 1, 1, 0]))
    assert told.reordered(told.ids[::-1]).clusters.tolist() == [0, 1, 1, 3]
    for one in (told, plain):
        write_predictions(tmp_path / "kept.npz", {("x", "test"): {0: one}})
        (back,) = read_predictions(tmp_path / "kept.npz", "sequence_value").values()
        np.testing.assert_array_equal(back[0].clusters, one.clusters)


@pytest.mark.parametrize(
    ("asked", "expected"), [("1", 1), ("2,4", 2), ("", 8), ("0", 8), ("99", 8)]
)
def test_threads_are_as_many_as_one_may_have(monkeypatch, asked, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert threads() == expected


def test_clusters_of_unlike_sizes_are_worth_fewer():
    alike = Clusters(np.arange(5).repeat(7), 5)
    unlike = Clusters(np.array([0] * 100 + [1]), 2)
    assert alike.worth == 5
    assert unlike.worth == pytest.approx(101**2 / (100**2 + 1))
