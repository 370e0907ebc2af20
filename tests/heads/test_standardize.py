"""Channels are standardised as the whole training split has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from tape_bench.heads.standardize import CLIP, Scaling


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 999))
def test_proteins_one_by_one_are_the_split_at_once(lengths, seed):
    rows = np.random.default_rng(seed).normal(3, 2, (sum(lengths), 4)).astype(np.float32)
    scaling = Scaling.of(np.split(rows, np.cumsum(lengths)[:-1]))
    np.testing.assert_allclose(scaling.mean, rows.astype(float).mean(0), atol=1e-9)
    np.testing.assert_allclose(scaling.deviation, rows.astype(float).std(0), atol=1e-7)


def test_it_is_what_scikit_learn_does():
    rows = np.random.default_rng(0).normal(5, 3, (200, 6)).astype(np.float32)
    expected = StandardScaler().fit_transform(rows)
    np.testing.assert_allclose(Scaling.of([rows])(rows), expected, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 3.3333333])
def test_a_channel_that_never_varies_is_zero(value):
    rows = np.full((1000, 1), value, np.float32)
    scaling = Scaling.of([rows[:3], rows[3:]])
    assert scaling.deviation[0] == 0
    np.testing.assert_array_equal(scaling(rows + 1), 0)


def test_values_far_out_are_cut():
    rows = np.zeros((10_000, 1), np.float32)
    rows[0] = 1
    assert Scaling.of([rows])(rows).max() == CLIP


def test_the_representation_itself_is_left_alone():
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    rows.flags.writeable = False
    Scaling.of([rows])(rows)
    np.testing.assert_array_equal(rows.ravel(), range(12))
