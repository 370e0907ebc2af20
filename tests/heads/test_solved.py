"""Solved heads are scikit-learn's ridge and logistic regression, whatever the pieces."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as SklearnRidge

from tape_bench.errors import ModelError
from tape_bench.heads import pair_logistic, rows
from tape_bench.heads.pair_logistic import PairLoss, evenly_spaced
from tape_bench.heads.ridge import Ridge
from tape_bench.heads.rows import Rows, scaling_of
from tape_bench.heads.softmax import SoftmaxLoss, scores
from tape_bench.heads.solver import Spectrum, solve
from tape_bench.heads.standardize import Scaling

TIGHT = 1e-6
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def names(random, lengths):
    return ["".join(random.choice(list(LETTERS), length)) for length in lengths]


def plain(hidden):
    """A scaling that leaves channels as they are."""
    return Scaling(np.zeros(hidden), np.ones(hidden))


def pooled(features):
    """Proteins of one vector each."""
    sequences = [f"P{number}" for number in range(len(features))]
    known = dict(zip(sequences, features.astype(np.float32), strict=True))
    return Rows(sequences, known, plain(features.shape[1]))


def correlated(random, items, hidden):
    """Channels that go together, as a language model's do."""
    mixing = random.normal(size=(hidden, hidden)) * np.geomspace(1, 0.03, hidden)
    return (random.normal(size=(items, hidden)) @ mixing / 2).astype(np.float32)


def solved(loss, pieces, hidden, penalties, tolerance=TIGHT):
    spectrum = Spectrum.of(pieces, hidden)
    return solve(loss, np.array(penalties), spectrum, loss.start(), tolerance)


def test_ridge_is_that_of_scikit_learn_for_every_penalty():
    random = np.random.default_rng(0)
    x, other = correlated(random, 90, 12), correlated(random, 40, 12)
    effect = random.normal(size=12)
    y, wanted = x @ effect + random.normal(size=90) + 7, other @ effect + 7
    losses = {}
    for penalty in (1.0, 1e-2, 1e-4):
        ours = Ridge()
        ours.fit(pooled(x), y, pooled(other), wanted, [penalty])
        theirs = SklearnRidge(alpha=penalty * len(x), solver="svd").fit(x.astype(float), y)
        np.testing.assert_allclose(ours.predict(pooled(other)), theirs.predict(other), atol=1e-5)
        assert ours.gradient < 1e-10
        losses[penalty] = np.mean((theirs.predict(other) - wanted) ** 2)
    ours.fit(pooled(x), y, pooled(other), wanted, list(losses))
    assert ours.penalty == min(losses, key=losses.__getitem__)
    assert ours.valid_loss == pytest.approx(min(losses.values()), rel=1e-5)


@pytest.mark.parametrize("penalty", [1e-1, 1e-3])
def test_softmax_is_that_of_scikit_learn(penalty):
    random = np.random.default_rng(1)
    x = correlated(random, 200, 8)
    labels = (x @ random.normal(size=(8, 4)) + random.gumbel(size=(200, 4))).argmax(axis=1)
    loss = SoftmaxLoss(pooled(x), list(labels[:, None]), 4)
    found = solved(loss, [p.vectors for p in loss.rows], 8, [penalty])
    theirs = LogisticRegression(C=1 / (penalty * 200), tol=1e-10, max_iter=10_000)
    theirs.fit(x.astype(float), labels)
    ours = scores(loss.rows, found.weights[0], found.bias[0], 1).astype(float)
    ours = np.exp(ours - np.logaddexp.reduce(ours, axis=1, keepdims=True))
    np.testing.assert_allclose(ours, theirs.predict_proba(x.astype(float)), atol=1e-5)
    assert found.gradients[0] <= TIGHT


def test_penalties_solved_together_are_those_solved_alone_and_warm():
    random = np.random.default_rng(2)
    x = correlated(random, 150, 6)
    labels = (x @ random.normal(size=(6, 3)) + random.gumbel(size=(150, 3))).argmax(axis=1)
    loss = SoftmaxLoss(pooled(x), list(labels[:, None]), 3)
    spectrum = Spectrum.of((p.vectors for p in loss.rows), 6)
    penalties = np.array([1e-1, 1e-2, 1e-3])
    together = solve(loss, penalties, spectrum, loss.start(), TIGHT)
    near = None
    for number in range(3):
        near = solve(loss, penalties[[number]], spectrum, loss.start(), TIGHT, near)
        # Weights may differ by the gradient's tolerance over the penalty.
        np.testing.assert_allclose(near.weights[0], together.weights[number], atol=1e-3)


def windows(known, sequences, window):
    """Every residue's neighbours side by side, zeros beyond the ends."""
    reach = window // 2
    found = []
    for sequence in sequences:
        padded = np.pad(known[sequence], ((reach, reach), (0, 0)))
        found += [padded[i : i + window].ravel() for i in range(len(sequence))]
    return np.array(found)


@pytest.mark.parametrize("window", [1, 5])
@pytest.mark.parametrize("piece", [1, 25, 2048])
def test_residues_and_their_windows_are_scikit_learn_on_windows_written_out(
    window, piece, monkeypatch
):
    monkeypatch.setattr(rows, "PIECE", piece)
    random = np.random.default_rng(3)
    sequences = names(random, [9, 30, 14, 1, 22, 40, 33])
    known = {s: random.normal(size=(len(s), 3)).astype(np.float32) for s in sequences}
    labels = [random.integers(-1, 3, len(s)) for s in sequences]
    laid = Rows(sequences, known, plain(3), apart=window // 2)
    loss = SoftmaxLoss(laid, labels, 3, window)
    found = solved(loss, [p.vectors for p in laid], 3, [1e-2])
    x, y = windows(known, sequences, window), np.concatenate(labels)
    theirs = LogisticRegression(C=1 / (1e-2 * (y >= 0).sum()), tol=1e-10, max_iter=10_000)
    theirs.fit(x[y >= 0].astype(float), y[y >= 0])
    ours = scores(laid, found.weights[0], found.bias[0], window).astype(float)
    ours = np.exp(ours - np.logaddexp.reduce(ours, axis=1, keepdims=True))
    np.testing.assert_allclose(ours, theirs.predict_proba(x.astype(float)), atol=1e-5)


def walks(random, sequences):
    found = [random.normal(0, 2.2, (len(s), 3)).cumsum(axis=0) for s in sequences]
    found[1][4] = np.nan
    return found


def pairs_written_out(sequences, known, places):
    products, contacts, weights = [], [], []
    for sequence, atoms in zip(sequences, places, strict=True):
        own = []
        for i in range(len(sequence)):
            for j in range(i + 6, len(sequence)):
                apart = np.linalg.norm(atoms[i] - atoms[j])
                if np.isfinite(apart):
                    products.append(known[sequence][i] * known[sequence][j])
                    own.append(apart < 8)
        contacts += own
        weights += [1 / len(own)] * len(own)
    return np.array(products), np.array(contacts), np.array(weights)


def test_pairs_are_scikit_learn_on_products_written_out():
    random = np.random.default_rng(4)
    sequences = names(random, [30, 25, 40])
    known = {s: random.normal(size=(len(s), 3)).astype(np.float32) for s in sequences}
    places = walks(random, sequences)
    loss = PairLoss(sequences, places, known, plain(3))
    found = solved(loss, loss.some(1000), 3, [1e-3])
    x, y, weights = pairs_written_out(sequences, known, places)
    theirs = LogisticRegression(C=1 / (1e-3 * 3), tol=1e-10, max_iter=10_000)
    theirs.fit(x.astype(float), y, sample_weight=weights)
    np.testing.assert_allclose(found.weights[0, 0], theirs.coef_[0], atol=1e-4)
    np.testing.assert_allclose(found.bias[0], theirs.intercept_, atol=1e-4)
    told = loss.losses(found.weights, found.bias)[0]
    chance = theirs.predict_proba(x.astype(float))[:, 1]
    assert told == pytest.approx(
        -np.average(np.log(np.where(y, chance, 1 - chance)), weights=weights), rel=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    piece=st.integers(1, 30),
    window=st.sampled_from([1, 3, 7]),
    keep=st.booleans(),
)
def test_losses_and_gradients_do_not_depend_on_the_pieces(lengths, piece, window, keep):
    random = np.random.default_rng(sum(lengths))
    sequences = [f"{number}" * length for number, length in enumerate(lengths)]
    known = {s: random.normal(size=(len(s), 2)).astype(np.float32) for s in sequences}
    labels = [random.integers(-1, 2, len(s)) for s in sequences]
    weights, bias = random.normal(size=(2, window * 2, 2)), random.normal(size=(2, 2))

    def told(rows_a_piece, limit):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rows, "PIECE", rows_a_piece)
            patch.setattr(rows, "MEMORY_LIMIT", limit)
            laid = Rows(sequences, known, plain(2), apart=window // 2)
            assert laid.kept == bool(limit)
            loss = SoftmaxLoss(laid, labels, 2, window)
            assert loss(weights, bias)[0] == pytest.approx(loss.losses(weights, bias))
            return loss(weights, bias)

    for one, other in zip(told(10_000, 1 << 30), told(piece, keep << 30), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_gradients_are_the_slopes_of_the_loss():
    random = np.random.default_rng(5)
    sequences = names(random, [12, 9])
    known = {s: random.normal(size=(len(s), 3)).astype(np.float32) for s in sequences}
    pairs = PairLoss(sequences, [random.normal(0, 6, (len(s), 3)) for s in sequences], known,
                     plain(3))  # fmt: skip
    laid = Rows(sequences, known, plain(3), apart=1)
    labels = [random.integers(0, 2, len(s)) for s in sequences]
    for loss, shapes in ((pairs, ((1, 1, 3), (1, 1))), (SoftmaxLoss(laid, labels, 2, 3),
                                                        ((1, 6, 3), (1, 2)))):  # fmt: skip
        weights, bias = (random.normal(size=shape) for shape in shapes)
        _, by_weights, by_bias = loss(weights, bias)
        for place in np.ndindex(*shapes[0]):
            moved = np.zeros(shapes[0])
            moved[place] = 1e-2
            rise = loss.losses(weights + moved, bias) - loss.losses(weights - moved, bias)
            assert by_weights[place] == pytest.approx(rise[0] / 2e-2, abs=2e-4)
        assert by_bias.shape == shapes[1]


def test_one_class_alone_needs_no_solving():
    random = np.random.default_rng(6)
    loss = SoftmaxLoss(pooled(random.normal(size=(5, 2))), [np.zeros(1, np.int64)] * 5, 1)
    found = solved(loss, [p.vectors for p in loss.rows], 2, [1e-2])
    assert found.evaluations == 1
    assert not found.weights.any()


def test_channels_that_do_not_vary_get_no_weight():
    random = np.random.default_rng(7)
    x = random.normal(size=(60, 4)).astype(np.float32)
    x[:, 2] = 3.0
    sequences = [f"P{number}" for number in range(60)]
    known = dict(zip(sequences, x, strict=True))
    laid = Rows(sequences, known, scaling_of(sequences, known))
    labels = list((x[:, :1] > 0).astype(np.int64))
    found = solved(SoftmaxLoss(laid, labels, 2), [p.vectors for p in laid], 4, [1e-3], 1e-5)
    assert not found.weights[0, :, 2].any()
    ours = Ridge()
    ours.fit(laid, x[:, 0].astype(float), laid, x[:, 0].astype(float), [1e-6])
    np.testing.assert_allclose(ours.predict(laid), x[:, 0], atol=1e-4)


def test_more_channels_than_proteins():
    random = np.random.default_rng(8)
    x, y = random.normal(size=(20, 50)).astype(np.float32), random.normal(size=20)
    ours = Ridge()
    ours.fit(pooled(x), y, pooled(x), y, [1e-2])
    theirs = SklearnRidge(alpha=1e-2 * 20, solver="svd").fit(x.astype(float), y)
    np.testing.assert_allclose(ours.predict(pooled(x)), theirs.predict(x), atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_an_error(bad):
    known = {"A": np.array([1.0, bad], np.float32), "C": np.ones(2, np.float32)}
    with pytest.raises(ModelError, match="not finite"):
        scaling_of(["A", "C"], known)


def test_of_very_many_pairs_evenly_spaced_proteins_are_taken():
    sequences = ["A" * 10] * 100
    assert evenly_spaced(sequences, most=10_000) == slice(None, None, 1)
    taken = sequences[evenly_spaced(sequences, most=2_500)]
    assert len(taken) == 25
    assert evenly_spaced(["A" * 3000]) == slice(None, None, 1)
    assert pair_logistic.MOST_PAIRS >= 58 * 500**2


@pytest.mark.parametrize("window", [1, 3])
def test_a_missing_word_of_the_loss_is_an_error(window):
    sequences = ["ACDE"]
    known = {"ACDE": np.full((4, 2), np.nan, np.float32)}
    laid = Rows(sequences, known, plain(2), apart=window // 2)
    loss = SoftmaxLoss(laid, [np.array([0, 1, 0, 1])], 2, window)
    with pytest.raises(ModelError, match="the loss"):
        solve(loss, np.array([1.0]), Spectrum(np.eye(2), np.ones(2)),
              replace(loss.start()), 1e-3)  # fmt: skip
