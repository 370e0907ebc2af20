from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from tape_bench.scoring.metrics import score


@pytest.mark.parametrize("set_", ["plain", "ties"])
def test_correlation_and_errors_are_those_of_the_reference(golden_metrics, predict, set_):
    of = {key: golden_metrics[f"spearman/{set_}/{key}"] for key in
          ("target", "pred", "rho", "mse", "mae")}  # fmt: skip
    given_ = predict.values(of["target"], of["pred"])
    assert score("spearman", given_).value == pytest.approx(of["rho"], abs=1e-12)
    assert score("mse", given_).value == pytest.approx(of["mse"], rel=1e-6)
    assert score("mae", given_).value == pytest.approx(of["mae"], rel=1e-6)


# Few distinct values, so that ties abound; all exact in float32.
_values = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=2, max_size=40).map(
    lambda pairs: np.array(pairs, dtype=float).T / 2
)


@given(_values)
def test_correlations_follow_scipy(predict, both):
    measured, predicted = both
    assume(np.ptp(measured) > 0)
    assume(np.ptp(predicted) > 0)
    given_ = predict.values(measured, predicted)
    assert score("spearman", given_).value == pytest.approx(stats.spearmanr(*both)[0], abs=1e-12)
    assert score("pearson", given_).value == pytest.approx(stats.pearsonr(*both)[0], abs=1e-12)


def test_a_large_offset_does_not_drown_the_correlation(predict):
    random = np.random.default_rng(0)
    measured, predicted = random.normal(size=(2, 50)) + 1e5
    given_ = predict.values(measured, predicted)
    expected = stats.pearsonr(measured, np.float32(predicted).astype(float))[0]
    assert score("pearson", given_).value == pytest.approx(expected, abs=1e-9)


def test_bright_and_dark_share_the_proteins_out(predict):
    measured, predicted = [1.0, 2.5, 2.6, 3.0, 4.0], [0, 1, 3, 2, 4]
    given_ = predict.values(measured, predicted)
    bright, dark = score("spearman.true>2.5", given_), score("spearman.true<=2.5", given_)
    # Bright: ranks 1 2 3 against 2 1 3. Dark: two proteins in the right order.
    assert (bright.value, bright.n) == (pytest.approx(0.5), 3)
    assert bright.left_out == {"measured value not > 2.5": 2}
    assert (dark.value, dark.n, dark.left_out) == (1, 2, {"measured value not <= 2.5": 3})
    assert score("mse.true>2.0", given_).value == pytest.approx((2.25 + 0.16 + 1 + 0) / 4)


@pytest.mark.parametrize("name", ["spearman", "pearson"])
@pytest.mark.parametrize(
    ("measured", "predicted", "reason"),
    [
        ([0.1] * 7, range(7), "all measured values are equal"),
        (range(7), [0.1] * 7, "all predicted values are equal"),
        ([1.0], [2.0], "fewer than two proteins"),
        ([], [], "fewer than two proteins"),
    ],
)
def test_where_a_correlation_means_nothing_it_says_so(predict, name, measured, predicted, reason):
    got = score(name, predict.values(list(measured), list(predicted)))
    assert got.value is None
    assert got.reason == reason


def test_an_empty_mode_says_so(predict):
    got = score("spearman.true>9", predict.values([1, 2], [1, 2]))
    assert got.value is None
    assert got.reason == "no protein can be scored: 2 with measured value not > 9"


def test_no_proteins_at_all(predict):
    got = score("mse", predict.values([], []))
    assert (got.value, got.reason, got.n) == (None, "there are no proteins", 0)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_predictions_that_are_no_numbers_give_no_figure(predict, broken):
    got = score("mse", predict.values([1, 2, 3], [1, broken, 3]))
    assert got.value is None
    assert got.reason == "1 of 3 predicted values are not finite numbers"
