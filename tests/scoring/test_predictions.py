from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.scoring.predictions import Predictions


@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.randoms())
@pytest.mark.parametrize("kind", ["token_class", "residue_pair", "sequence_value"])
def test_reordering_moves_every_item_with_its_protein(kind, lengths, random):
    pieces = {}
    for name, length in enumerate(lengths):
        count = {"token_class": length, "residue_pair": max(0, (length - 6) * (length - 5) // 2)}
        items = count.get(kind, 1) if length > 5 or kind != "residue_pair" else 0
        pieces[str(name)] = (length, [100.0 * name + item for item in range(items)])

    def build(ids):
        flat = np.array([value for id in ids for value in pieces[id][1]])
        return Predictions(
            kind, tuple(ids), np.array([pieces[id][0] for id in ids]), np.float32(flat), flat
        )

    ids = list(pieces)
    shuffled = random.sample(ids, len(ids))
    moved, expected = build(ids).reordered(tuple(shuffled)), build(shuffled)
    assert moved.ids == expected.ids
    np.testing.assert_array_equal(moved.lengths, expected.lengths)
    np.testing.assert_array_equal(moved.values, expected.values)
    np.testing.assert_array_equal(moved.targets, expected.targets)


def test_what_metrics_share_is_computed_once(predict):
    predictions, calls = predict.values([1, 2], [2, 1]), []
    for _ in range(3):
        assert predictions.derived(calls.append) is None
    assert len(calls) == 1


def test_items_must_fit_the_lengths():
    with pytest.raises(AssertionError, match="2 values"):
        Predictions("token_class", ("a",), np.array([3]), np.zeros((2, 3)), np.zeros(2, np.int64))
    with pytest.raises(AssertionError, match="unique"):
        Predictions("sequence_value", ("a", "a"), np.ones(2, int), np.zeros(2), np.zeros(2))
