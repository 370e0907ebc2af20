"""Aligned ridge regression is ridge regression on proteins laid side by side."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from tape_bench.errors import ModelError
from tape_bench.heads import aligned
from tape_bench.heads.aligned import PENALTIES, AlignedRidge

LETTERS = 5


def proteins(random, lengths):
    """One-hot proteins `[residues, 5]`, all of them beginning with the same letter."""
    letters = [random.integers(0, LETTERS, length) for length in lengths]
    for one in letters:
        one[0] = 2
    return [np.eye(LETTERS, dtype=np.float32)[one] for one in letters]


def side_by_side(found, width):
    rows = np.zeros((len(found), width * LETTERS))
    for row, protein in zip(rows, found, strict=True):
        flat = protein[:width].ravel()
        row[: len(flat)] = flat
    return rows


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    train = proteins(random, random.integers(4, 9, 120))
    valid = proteins(random, random.integers(4, 12, 60))
    effect = random.normal(size=8 * LETTERS)
    values = [
        side_by_side(some, 8) @ effect + random.normal(0, 1, len(some)) for some in (train, valid)
    ]
    return train, values[0], valid, values[1]


def test_it_is_scikit_learn_ridge_with_the_penalty_chosen_on_valid(problem):
    train, train_values, valid, valid_values = problem
    ours = AlignedRidge()
    ours.fit(*problem)
    losses = {}
    for alpha in PENALTIES:
        theirs = Ridge(alpha=alpha, solver="cholesky").fit(side_by_side(train, 8), train_values)
        losses[alpha] = np.mean((theirs.predict(side_by_side(valid, 8)) - valid_values) ** 2)
    best = min(losses, key=losses.__getitem__)
    assert ours.alpha == best
    assert ours.valid_loss == pytest.approx(losses[best], rel=1e-6)
    theirs = Ridge(alpha=best).fit(side_by_side(train, 8), train_values)
    np.testing.assert_allclose(
        ours.predict(valid), theirs.predict(side_by_side(valid, 8)), atol=1e-6
    )


def test_residues_beyond_the_longest_training_protein_count_for_nothing(problem):
    ours = AlignedRidge()
    ours.fit(*problem)
    longer = [protein for protein in problem[2] if len(protein) > 8]
    assert longer
    np.testing.assert_array_equal(ours.predict(longer), ours.predict([p[:8] for p in longer]))


def test_proteins_that_are_all_alike_get_the_mean():
    same = [np.eye(LETTERS, dtype=np.float32)] * 4
    ours = AlignedRidge()
    ours.fit(same, np.array([1.0, 2.0, 3.0, 4.0]), same, np.ones(4))
    np.testing.assert_allclose(ours.predict(same), 2.5)


def test_too_many_columns_are_refused(problem, monkeypatch):
    monkeypatch.setattr(aligned, "WIDEST", 20)
    # Of eight places, the first is the same in all proteins.
    with pytest.raises(ModelError, match="35 columns"):
        AlignedRidge().fit(*problem)
