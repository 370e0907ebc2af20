from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tape_bench.errors import NotComparableError
from tape_bench.report.comparison.compare import Change, compare, in_words
from tape_bench.report.comparison.pairing import pair
from tape_bench.results import collect


@pytest.fixture
def sides(tmp_path, write_run, measured):
    def build(noise_a, noise_b, **changes):
        for side, noise, seed in (("a", noise_a, 1), ("b", noise_b, 2)):
            extra = changes if side == "b" else {}
            write_run(tmp_path / side, measured(noise, seed=seed), "stability", **extra)
        found = [collect.collect_records([tmp_path / side]).filed for side in "ab"]
        return pair(*found).pairs

    return build


def test_the_figures_are_those_of_scipy(sides, measured):
    (change,) = compare(sides(0.5, 1.5), draws=500)

    a, b = measured(0.5, seed=1), measured(1.5, seed=2)
    rho = [stats.spearmanr(p.values, p.targets).statistic for p in (a, b)]
    assert change.a == pytest.approx(rho[0], abs=1e-6)
    assert change.difference == pytest.approx(rho[1] - rho[0], abs=1e-6)


def test_a_clear_loss_is_called_one(sides):
    (change,) = compare(sides(0.5, 1.5), draws=1000)

    assert change.high is not None
    assert change.high < 0
    assert change.p_holm == change.p == pytest.approx(1 / 1001)
    assert "is worse by" in in_words(change)


def test_the_interval_agrees_with_scipy_bootstrap(sides, measured):
    (change,) = compare(sides(0.5, 0.8), draws=4000)

    a, b = measured(0.5, seed=1), measured(0.8, seed=2)

    def difference(x, y, truth):
        return stats.spearmanr(y, truth).statistic - stats.spearmanr(x, truth).statistic

    scipy = stats.bootstrap(
        (a.values, b.values, a.targets), difference, paired=True, vectorized=False,
        n_resamples=2000, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    # Two bootstraps of some thousand draws agree to a few per cent of the interval's width.
    width = scipy.high - scipy.low
    assert change.low == pytest.approx(scipy.low, abs=0.1 * width)
    assert change.high == pytest.approx(scipy.high, abs=0.1 * width)


def test_the_same_predictions_are_the_same(sides, tmp_path, write_run, measured):
    for side in "cd":
        write_run(tmp_path / side, measured(0.5), "stability")
    pairs = pair(*(collect.collect_records([tmp_path / side]).filed for side in "cd")).pairs

    (change,) = compare(pairs, draws=200)

    assert change.difference == 0
    assert in_words(change) == "the two scores are the same"


def test_what_is_not_comparable_is_refused_or_said(sides):
    pairs = sides(0.5, 0.6, protocol="finetune")

    with pytest.raises(NotComparableError, match="protocols differ"):
        compare(pairs, draws=200)
    (change,) = compare(pairs, anyway=True, draws=200)
    assert "protocols differ" in change.doubts[0]


def test_without_predictions_there_is_a_difference_but_no_interval(sides, tmp_path):
    pairs = sides(0.5, 0.6)
    for kept in (tmp_path / "b").rglob("*.npz"):
        kept.unlink()

    (change,) = compare(pairs, draws=200)

    assert change.difference is not None
    assert change.low is None
    assert "not beside the record" in (change.remark or "")
    assert "not told from chance" in in_words(change)


def test_foreign_predictions_are_refused(sides, tmp_path):
    pairs = sides(0.5, 0.6)
    (a,) = (tmp_path / "a").rglob("*.npz")
    (b,) = (tmp_path / "b").rglob("*.npz")
    b.write_bytes(a.read_bytes())

    (change,) = compare(pairs, draws=200)

    assert "not the predictions of the record" in (change.remark or "")


def test_p_values_are_adjusted_for_their_number(tmp_path, write_run, measured):
    for task, noise in (("stability", 0.55), ("fluorescence", 2.0)):
        write_run(tmp_path / "a", measured(0.5, seed=1), task)
        write_run(tmp_path / "b", measured(noise, seed=2), task)
    pairs = pair(*(collect.collect_records([tmp_path / side]).filed for side in "ab")).pairs

    changes = compare(pairs, draws=1000)

    small, large = sorted(changes, key=lambda change: change.p)
    assert small.p_holm == pytest.approx(2 * small.p)
    assert large.p_holm == pytest.approx(max(large.p, 2 * small.p))


@pytest.mark.parametrize("trained", [{"solved": False}, {"solved": False, "seeds": [7]}])
def test_a_head_trained_once_cannot_be_told_from_luck(sides, trained):
    (change,) = compare(sides(0.5, 1.5, model="new", **trained), draws=200)

    assert change.difference is not None
    assert (change.low, change.p, change.p_holm) == (None, None, None)
    said = in_words(change)
    assert said.startswith("bert is ahead by")
    assert "not told from chance: the head of new was trained with one seed" in said


def test_seeds_of_trained_heads_widen_the_interval(tmp_path, write_run, measured):
    """As wide as the variance of three seeds a side demands, by hand."""
    a = [measured(noise, seed=1) for noise in (0.5, 0.6, 0.7)]
    b = [measured(noise, seed=2) for noise in (0.8, 0.7, 0.6)]
    for side, runs in (("a", a), ("b", b), ("c", [a[0]]), ("d", [b[0]])):
        write_run(tmp_path / side, runs, "stability")
    found = {side: collect.collect_records([tmp_path / side]).filed for side in "abcd"}

    (change,) = compare(pair(found["a"], found["b"]).pairs, draws=500)
    (solved,) = compare(pair(found["a"], found["d"]).pairs, draws=500)

    rho = [[stats.spearmanr(p.values, p.targets).statistic for p in side] for side in (a, b)]
    paired = stats.ttest_rel(rho[1], rho[0]).confidence_interval(0.95)
    assert change.low is not None
    assert change.low < paired.low
    assert change.high is not None
    assert change.high > paired.high
    # One side's variance alone, two degrees of freedom.
    reach = stats.t.ppf(0.975, 2) * stats.sem(rho[0])
    assert solved.low is not None
    assert solved.difference is not None
    assert solved.difference - solved.low > reach


@pytest.mark.parametrize(
    ("higher", "b", "words"),
    [(True, 0.7, "new is better by 0.200"), (False, 0.7, "new is worse by 0.200")],
)
def test_words_follow_the_direction_of_the_metric(higher, b, words):
    change = Change("t", "m", "M", "s", higher, "old", "new", 0.5, b, 0.1, 0.3, 10, 0.01, 0.02)

    assert in_words(change).startswith(words)
