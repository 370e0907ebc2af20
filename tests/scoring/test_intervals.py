from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tape_bench.scoring.intervals import interval, of_draws
from tape_bench.scoring.metrics import find, score
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.resampling import Clusters, bootstrap, draw


def _one_of(predict, kind, random, n):
    """Predictions somewhat better than chance for n proteins, one without any label."""
    if kind == "sequence_value":
        measured = np.round(random.normal(size=n), 1) + 2.5
        return predict.values(measured, np.round(measured + random.normal(size=n), 1))
    if kind == "sequence_class":
        true = random.integers(0, 7, size=n)
        return predict.folds(true, random.normal(size=(n, 7)) + np.eye(7)[true])
    lengths = random.integers(25, 30, size=n)
    if kind == "token_class":
        true = [random.integers(-1, 3, size=length) for length in lengths]
        true[0][:] = -1
        return predict.residues(true, [random.normal(size=(length, 8)) for length in lengths])
    labels = [random.integers(-1, 2, size=(length, length)) for length in lengths]
    labels[0][:] = -1
    return predict.pairs(lengths, [random.random((m, m)) for m in lengths], labels)


def _written_out(predictions: Predictions, chosen: np.ndarray) -> Predictions:
    """The predictions of the chosen proteins, those chosen twice standing there twice."""
    offsets = predictions.offsets
    items = [np.arange(offsets[place], offsets[place + 1]) for place in chosen]
    flat = np.concatenate(items)
    return Predictions(
        predictions.kind,
        tuple(str(number) for number in range(len(chosen))),
        predictions.lengths[chosen],
        predictions.values[flat],
        predictions.targets[flat],
    )


_METRICS = [
    ("accuracy.pooled", "token_class"),
    ("accuracy.by_protein", "token_class"),
    ("f1.macro", "token_class"),
    ("f1.class2", "token_class"),
    ("accuracy.top1", "sequence_class"),
    ("accuracy.top5.ties_shared", "sequence_class"),
    ("f1.macro", "sequence_class"),
    ("spearman", "sequence_value"),
    ("spearman.true>2.5", "sequence_value"),
    ("pearson", "sequence_value"),
    ("mse.true<=2.5", "sequence_value"),
    ("mae", "sequence_value"),
    ("precision@L/2.ge6.upper.by_protein", "residue_pair"),
    ("precision@L/5.medlong.upper.by_protein", "residue_pair"),
    ("tape_p_at_l5.pooled", "residue_pair"),
    ("proteinlm_p_at_l5.both_triangles.pooled", "residue_pair"),
]


@pytest.mark.parametrize("clusters_of", [None, np.array([0, 3, 0, 0, 1, 5, 3, 0, 4, 4, 4, 9])])
@pytest.mark.parametrize(("definition", "kind"), _METRICS)
def test_a_draw_is_the_metric_of_the_drawn_proteins(predict, definition, kind, clusters_of):
    random = np.random.default_rng(1)
    predictions = replace(_one_of(predict, kind, random, 12), clusters=clusters_of)
    statistic = find(definition, kind).statistic(predictions)
    clusters = Clusters.among([predictions], statistic.proteins)
    weights = clusters.weights(draw(random, 20, clusters.n))
    scores = statistic.drawn(weights)
    for times, figure in zip(weights, scores, strict=True):
        chosen = np.repeat(statistic.proteins, times.astype(int))
        expected = score(definition, _written_out(predictions, chosen)).value
        assert figure == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_a_draw_of_batches_pools_what_it_has_of_each(predict):
    predictions = _one_of(predict, "residue_pair", np.random.default_rng(1), 5)
    statistic = find("tape_p_at_l5.batch2", "residue_pair").statistic(predictions)
    each = [
        score("tape_p_at_l5.pooled", _written_out(predictions, np.array([place]))).value
        for place in range(5)
    ]
    picks = predictions.lengths // 5
    # The first batch whole, the second by one protein drawn three times, the third not at all.
    got = statistic.drawn(np.float32([[1, 1, 0, 3, 0]]))[0]
    first = (each[0] * picks[0] + each[1] * picks[1]) / (picks[0] + picks[1])
    assert got == pytest.approx((first + each[3]) / 2)


@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 99))
def test_every_draw_has_as_many_proteins_as_there_are(n, draws, seed):
    weights = draw(np.random.default_rng(seed), draws, n)
    assert weights.shape == (draws, n)
    assert (weights.sum(axis=1) == n).all()
    assert (weights >= 0).all()


def test_proteins_are_drawn_evenly():
    weights = draw(np.random.default_rng(0), 2000, 50)
    assert stats.chisquare(weights.sum(axis=0)).pvalue > 0.001
    # Each count is binomial: n draws at 1/n.
    assert weights.var() == pytest.approx(1 - 1 / 50, rel=0.02)


def _pearson(x, y, axis):
    return np.mean(stats.zscore(x, axis=axis) * stats.zscore(y, axis=axis), axis=axis)


def _ranks(x, y, axis):
    return stats.rankdata(x, axis=axis), stats.rankdata(y, axis=axis)


@pytest.mark.parametrize("definition", ["pearson", "spearman", "mse"])
def test_interval_agrees_with_scipy(predict, definition):
    predictions = _one_of(predict, "sequence_value", np.random.default_rng(5), 150)
    statistic = {
        "pearson": _pearson,
        "spearman": lambda x, y, axis: _pearson(*_ranks(x, y, axis), axis),
        "mse": lambda x, y, axis: np.mean((x - y) ** 2, axis=axis),
    }[definition]
    expected = stats.bootstrap(
        (predictions.targets, predictions.values), statistic, paired=True, vectorized=True,
        method="percentile", n_resamples=4000, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    got = interval(find(definition, "sequence_value"), [predictions], draws=4000)
    # Scipy's does not know that 150 proteins are no more than 150.
    stretch = stats.t.ppf(0.975, 149) / stats.norm.ppf(0.975) * np.sqrt(150 / 149)
    figure = score(definition, predictions).value
    low, high = (figure + stretch * (end - figure) for end in expected)
    width = expected.high - expected.low
    assert got.low == pytest.approx(low, abs=0.06 * width)
    assert got.high == pytest.approx(high, abs=0.06 * width)
    assert (got.level, got.draws) == (0.95, 4000)


def test_the_figure_of_several_seeds_is_their_mean_on_the_same_draws(predict):
    random = np.random.default_rng(2)
    seeds = [_one_of(predict, "sequence_class", random, 120) for _ in range(3)]
    # The same truth for all.
    seeds = [Predictions(s.kind, s.ids, s.lengths, s.values, seeds[0].targets) for s in seeds]
    metric = find("accuracy.top1", "sequence_class")
    each = Clusters(np.arange(120), 120)
    scores = bootstrap([metric.statistic(one) for one in seeds], each, 500, seed=7)
    alone = bootstrap([metric.statistic(seeds[1])], each, 500, seed=7)
    np.testing.assert_array_equal(scores[:, 1], alone[:, 0])
    got = interval(metric, seeds, draws=500, seed=7)
    mean = np.mean([score("accuracy.top1", one).value for one in seeds])
    assert got == of_draws(mean, scores.mean(axis=1), 0.95, each)


def test_intervals_do_not_depend_on_the_number_of_cores(predict, monkeypatch):
    predictions = [_one_of(predict, "sequence_value", np.random.default_rng(0), 3000)]
    metric = find("spearman", "sequence_value")
    many = interval(metric, predictions, draws=200, seed=3)
    monkeypatch.setattr("tape_bench.scoring.resampling.threads", lambda: 3)
    assert interval(metric, predictions, draws=200, seed=3) == many
    assert interval(metric, predictions, draws=200, seed=4) != many


@pytest.mark.parametrize(
    ("measured", "predicted"),
    [
        ([1.0, 2.0], [1.0, 1.0]),
        ([1.0], [1.0]),
        ([], []),
        # Defined on the whole, but a draw misses the only different protein more often than not.
        ([0.0] * 9 + [1.0], [*range(9), 3]),
    ],
)
def test_no_interval_where_it_would_mean_nothing(predict, measured, predicted):
    predictions = [predict.values(measured, predicted)]
    assert interval(find("spearman", "sequence_value"), predictions) is None


def test_a_few_undefined_draws_are_passed_over():
    many = Clusters(np.arange(10**7), 10**7)
    scores = np.arange(100.0)
    scores[:5] = np.nan
    got = of_draws(50, scores, 0.9, many)
    assert (got.draws, got.low, got.high) == (95, pytest.approx(9.7), pytest.approx(94.3))
    scores[5] = np.nan
    assert of_draws(50, scores, 0.9, many) is None
