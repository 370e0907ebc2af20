from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tape_bench.errors import NotComparableError
from tape_bench.scoring.metrics import find, score
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.significance import holm, paired_bootstrap, permutation_test

_VALUES = {name: find(name, "sequence_value") for name in ("mse", "mae", "pearson", "spearman")}


def _two(predict, n, seed, noise=(1.0, 1.5)):
    random = np.random.default_rng(seed)
    measured = np.round(random.normal(size=n), 1)
    return [predict.values(measured, measured + s * random.normal(size=n)) for s in noise]


def _pearson(x, y, axis):
    return np.mean(stats.zscore(x, axis=axis) * stats.zscore(y, axis=axis), axis=axis)


_STATISTICS = {
    "mse": lambda x, y, axis=-1: np.mean((x - y) ** 2, axis=axis),
    "mae": lambda x, y, axis=-1: np.mean(np.abs(x - y), axis=axis),
    "pearson": lambda x, y, axis=-1: _pearson(x, y, axis),
    "spearman": lambda x, y, axis=-1: _pearson(
        stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis), axis
    ),
}


@pytest.mark.parametrize("name", list(_VALUES))
def test_paired_bootstrap_agrees_with_scipy(predict, name):
    a, b = _two(predict, 60, seed=1)
    of = _STATISTICS[name]
    expected = stats.bootstrap(
        (a.targets, a.values, b.values), lambda t, x, y, axis: of(t, x, axis) - of(t, y, axis),
        paired=True, vectorized=True, method="percentile", n_resamples=4000,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    got = paired_bootstrap(_VALUES[name], [a], [b], draws=4000)
    assert got.value == pytest.approx(of(a.targets, a.values) - of(b.targets, b.values), rel=1e-5)
    width = expected.high - expected.low
    assert got.interval.low == pytest.approx(expected.low, abs=0.06 * width)
    assert got.interval.high == pytest.approx(expected.high, abs=0.06 * width)
    assert (got.n, got.reason) == (60, None)


@pytest.mark.parametrize("n", [4, 9])
@pytest.mark.parametrize("name", ["mse", "mae"])
def test_few_proteins_are_swapped_in_every_way_as_scipy_does(predict, name, n):
    a, b = _two(predict, n, seed=n)
    size = {"mse": np.square, "mae": np.abs}[name]
    errors = [size(one.values.astype(float) - one.targets) for one in (a, b)]
    expected = stats.permutation_test(
        errors, lambda x, y: np.mean(x) - np.mean(y), permutation_type="samples",
        n_resamples=np.inf,
    ).pvalue  # fmt: skip
    assert permutation_test(_VALUES[name], [a], [b]) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_swapped_correlations_by_writing_every_swap_out(predict, name):
    a, b = _two(predict, 8, seed=2)
    rank = stats.rankdata if name == "spearman" else np.asarray
    true, x, y = (stats.zscore(rank(v).astype(float)) for v in (a.targets, a.values, b.values))

    def difference(swap):
        first, second = np.where(swap, y, x), np.where(swap, x, y)
        return stats.pearsonr(true, first)[0] - stats.pearsonr(true, second)[0]

    observed = abs(difference(np.zeros(8, bool)))
    swaps = itertools.product([False, True], repeat=8)
    expected = np.mean([abs(difference(np.array(s))) >= observed - 1e-12 for s in swaps])
    assert permutation_test(_VALUES[name], [a], [b]) == pytest.approx(expected)


def test_many_proteins_are_swapped_at_random_to_the_same_p(predict):
    a, b = _two(predict, 300, seed=3, noise=(1.0, 1.1))
    errors = [np.square(one.values.astype(float) - one.targets) for one in (a, b)]
    expected = stats.permutation_test(
        errors, lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        vectorized=True, permutation_type="samples", n_resamples=10_000, rng=1,
    ).pvalue  # fmt: skip
    got = permutation_test(_VALUES["mse"], [a], [b])
    assert got == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 5000))
    assert permutation_test(_VALUES["mse"], [a], [b]) == got


def test_p_is_never_zero_and_one_for_twins(predict):
    a, far = _two(predict, 200, seed=4, noise=(0.01, 3.0))
    assert permutation_test(_VALUES["mse"], [a], [far], permutations=999) == 1 / 1000
    assert permutation_test(_VALUES["spearman"], [a], [a], permutations=999) == 1
    twin = paired_bootstrap(_VALUES["spearman"], [a], [a], draws=100)
    assert (twin.value, twin.interval.low, twin.interval.high) == (0, 0, 0)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_swapping_does_not_care_about_the_scale_of_either_system(predict, name):
    a, b = _two(predict, 60, seed=5)
    scaled = predict.values(b.targets, 64 * b.values + 1024)
    p = permutation_test(_VALUES[name], [a], [b])
    assert 0 < p < 1
    # Scaled, the values are rounded a little differently.
    assert permutation_test(_VALUES[name], [a], [scaled]) == pytest.approx(p, abs=0.002)


def test_contacts_and_classes_can_be_compared(predict):
    random = np.random.default_rng(0)
    true = random.integers(0, 4, size=40)
    good = predict.folds(true, np.eye(4)[true] + 0.3 * random.normal(size=(40, 4)))
    poor = predict.folds(true, random.normal(size=(40, 4)))
    for name in ("accuracy.top1", "f1.macro"):
        metric = find(name, "sequence_class")
        got = paired_bootstrap(metric, [good], [poor], draws=500)
        assert got.value == pytest.approx(score(name, good).value - score(name, poor).value)
        assert got.interval.low > 0
        assert permutation_test(metric, [good], [poor], permutations=499) == 1 / 500

    label = (random.random((12, 30, 30)) < 0.3).astype(int)
    sure = predict.pairs([30] * 12, 0.5 * label + 0.5 * random.random(label.shape), label)
    blind = predict.pairs([30] * 12, random.random(label.shape), label)
    for name in ("precision@L/5.ge6.upper.by_protein", "tape_p_at_l5.batch5"):
        metric = find(name, "residue_pair")
        assert paired_bootstrap(metric, [sure], [blind], draws=500).interval.low > 0
        assert permutation_test(metric, [sure], [blind]) == 2 / 2**12


def test_proteins_are_matched_by_id_whatever_their_order(predict):
    a, b = _two(predict, 25, seed=6)
    turned = b.reordered(b.ids[::-1])
    for name, metric in _VALUES.items():
        assert paired_bootstrap(metric, [a], [turned], draws=200) == paired_bootstrap(
            metric, [a], [b], draws=200
        ), name
        assert permutation_test(metric, [a], [turned]) == permutation_test(metric, [a], [b]), name


def test_seeds_are_averaged_and_need_not_be_as_many(predict):
    a, b = _two(predict, 30, seed=7)
    a2 = predict.values(a.targets, a.values + np.linspace(-1, 1, 30))
    got = paired_bootstrap(_VALUES["mse"], [a, a2], [b], draws=200)
    scores = [score("mse", one).value for one in (a, a2, b)]
    assert got.value == pytest.approx((scores[0] + scores[1]) / 2 - scores[2])
    assert permutation_test(_VALUES["mse"], [a, a], [b]) == permutation_test(
        _VALUES["mse"], [a], [b]
    )


def test_other_proteins_or_another_truth_cannot_be_compared(predict):
    a, b = _two(predict, 5, seed=8)
    fewer = Predictions(b.kind, b.ids[:4], b.lengths[:4], b.values[:4], b.targets[:4])
    with pytest.raises(NotComparableError, match=r"the same proteins: 1 differ, e\.g\. protein4"):
        paired_bootstrap(_VALUES["mse"], [a], [fewer])
    other = predict.values(b.targets + 1, b.values)
    with pytest.raises(NotComparableError, match="different measurements"):
        permutation_test(_VALUES["mse"], [a], [other])


def test_what_is_undefined_for_one_has_no_difference(predict):
    a = predict.values([1, 2, 3], [1, 2, 3])
    flat = predict.values([1, 2, 3], [1, 1, 1])
    got = paired_bootstrap(_VALUES["spearman"], [a], [flat])
    assert (got.value, got.interval, got.reason) == (None, None, "all predicted values are equal")
    assert permutation_test(_VALUES["spearman"], [a], [flat]) is None
    lone = predict.values([1], [2])
    got = paired_bootstrap(_VALUES["mse"], [lone], [lone])
    assert (got.value, got.interval, got.reason) == (0, None, "fewer than two proteins")


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04: times 4 3 2 1, never falling.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_step_by_step(p_values):
    """The textbook procedure: go up while p is within level / (questions left)."""
    adjusted = holm(p_values)
    for level in (0.01, 0.05, 0.2):
        order, rejected = np.argsort(p_values), set()
        for done, place in enumerate(order):
            if p_values[place] * (len(p_values) - done) > level:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(adjusted) if p <= level} == rejected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mse", "spearman"])
def test_false_alarms_are_as_rare_as_the_level_says(predict, name):
    p = []
    for seed in range(400):
        a, b = _two(predict, 40, seed, noise=(1.0, 1.0))
        p.append(permutation_test(_VALUES[name], [a], [b], permutations=999))
    # 5 % of 400 are 20; four standard errors more are 37.
    assert np.mean(np.array(p) <= 0.05) <= 37 / 400
    assert stats.kstest(p, "uniform").pvalue > 0.001
