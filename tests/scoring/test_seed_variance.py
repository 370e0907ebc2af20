from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tape_bench.scoring.seed_variance import SeedVariance, seed_variance, untold, widened

A = {0: 0.50, 1: 0.54, 2: 0.49}
B = {0: 0.52, 1: 0.57, 2: 0.50}
C = {3: 0.52, 4: 0.57, 5: 0.50, 6: 0.55}


def test_the_same_seeds_are_paired_as_in_the_t_test_for_pairs():
    found = seed_variance(A, B)

    expected = stats.ttest_rel(list(B.values()), list(A.values()))
    interval = expected.confidence_interval(0.95)
    assert found is not None
    assert found.freedom == expected.df
    reach = stats.t.ppf(0.975, 2) * found.error
    assert reach == pytest.approx((interval.high - interval.low) / 2)


def test_other_seeds_are_compared_as_in_the_t_test():
    found = seed_variance(A, C)

    expected = stats.ttest_ind(list(C.values()), list(A.values()), equal_var=False)
    assert found is not None
    assert found.freedom == pytest.approx(expected.df)
    difference = np.mean(list(C.values())) - np.mean(list(A.values()))
    assert found.error == pytest.approx(difference / expected.statistic)


def test_a_solved_head_brings_no_seed_variance():
    assert seed_variance(None, None) is None
    for alone in (seed_variance(A, None), seed_variance(None, A)):
        assert alone is not None
        assert alone.freedom == 2
        assert alone.error == pytest.approx(stats.sem(list(A.values())))


def test_figures_that_never_move_have_no_seed_variance():
    assert seed_variance({0: 0.5, 1: 0.5}, {2: 0.4, 3: 0.4}) == SeedVariance(0, 1)


@pytest.mark.parametrize("b", [{0: 0.4}, {1: 0.4}])
def test_a_single_seed_says_nothing(b):
    said = untold([("old", {0: 0.5}), ("new", b)])
    assert said is not None
    assert "the head of old and of new was trained with one seed" in said
    assert "of new was" in (untold([("old", A), ("new", b)]) or "")
    assert untold([("old", A), ("new", None)]) is None
    assert untold([("old", None), ("new", None)]) is None


def test_independent_uncertainties_add_as_squares():
    reach = stats.t.ppf(0.975, 4) * 0.01

    low, high = widened(0.1, 0.1 - 0.03, 0.1 + 0.02, SeedVariance(0.01, 4), 0.95)

    assert low == pytest.approx(0.1 - np.sqrt(0.03**2 + reach**2))
    assert high == pytest.approx(0.1 + np.sqrt(0.02**2 + reach**2))


@pytest.mark.slow
def test_intervals_that_take_in_luck_raise_few_false_alarms():
    """Runs of three seeds each, with a variance as large as the noise of the proteins."""
    random = np.random.default_rng(0)
    alarms = 0
    for _ in range(2000):
        a, b = (dict(enumerate(random.normal(scale=0.02, size=3), start)) for start in (0, 3))
        proteins = random.normal(scale=0.01)
        difference = np.mean(list(b.values())) - np.mean(list(a.values())) + proteins
        found = seed_variance(a, b)
        assert found is not None
        reach = 1.96 * 0.01
        _, high = widened(difference, difference - reach, difference + reach, found, 0.95)
        alarms += high < 0
    assert alarms / 2000 <= 0.03
