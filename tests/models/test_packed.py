"""What a launch is laid out as, and how its vectors come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.models.packed import Layout, fetch, finite_sequences, finite_tokens

CPU = torch.device("cpu")


@given(
    st.lists(st.lists(st.integers(5, 30), max_size=9), min_size=1, max_size=8),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_special_tokens_stand_around_each_sequence(sequences, before, after):
    ids = np.array([id for sequence in sequences for id in sequence], np.int64)
    lengths = np.array([len(sequence) for sequence in sequences])
    first, last = (1, 2)[:before], (3, 4)[:after]
    if not (lengths + before + after).all():
        return
    layout = Layout.of(ids, lengths, CPU, before=first, after=last)

    expected = [[*first, *sequence, *last] for sequence in sequences]
    assert layout.ids.tolist() == [id for one in expected for id in one]
    assert layout.positions.tolist() == [place for one in expected for place in range(len(one))]
    assert layout.offsets.tolist() == [0, *np.cumsum([len(one) for one in expected])]
    assert layout.lengths.tolist() == [len(one) for one in expected]
    assert layout.longest == max(len(one) for one in expected)
    assert layout.ids.dtype == layout.positions.dtype == layout.offsets.dtype == torch.int32


def test_what_is_fetched_is_float32_or_what_it_was():
    found = fetch({"a": torch.ones(2, 3, dtype=torch.bfloat16), "b": torch.tensor([True])})()
    assert found["a"].dtype == np.float32
    assert found["b"].dtype == bool
    np.testing.assert_array_equal(found["a"], np.ones((2, 3)))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_tells_on_its_sequence(wrong):
    rows = torch.ones(6, 4)
    rows[3, 1] = wrong
    finite = finite_tokens(rows)
    assert finite.tolist() == [True, True, True, False, True, True]
    lengths = np.array([1, 1, 2, 2])
    assert finite_sequences(finite.numpy(), lengths).tolist() == [True, True, False, True]


def test_infinities_that_cancel_are_seen():
    rows = torch.tensor([[float("inf"), -float("inf")]])
    assert finite_tokens(rows).tolist() == [False]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_copies_wait_for_what_is_queued_and_for_nothing_else():
    device = torch.device("cuda")
    x = torch.randn(2000, 2000, device=device)
    waiting = []
    for _ in range(20):
        x = torch.tanh(x @ x / 50)
        waiting.append((fetch({"x": x}), x.clone()))
    for wait, expected in waiting:
        np.testing.assert_array_equal(wait()["x"], expected.cpu().numpy())
