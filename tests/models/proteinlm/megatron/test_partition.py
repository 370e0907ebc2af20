"""Merging and splitting are inverses for every number of ranks, and touch what they should."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.errors import CheckpointError, ModelError
from tape_bench.models.proteinlm.config import QkvOrder
from tape_bench.models.proteinlm.mapping import VOCABULARY, Partition
from tape_bench.models.proteinlm.megatron.partition import by_head, from_heads, merge

CUT = {"rows": 0, "columns": 1, "heads": 0}


@given(
    partition=st.sampled_from(sorted(CUT)),
    before=st.sampled_from([1, 2, 3, 4, 6, 8]),
    after=st.sampled_from([1, 2, 3, 4, 6, 8]),
)
def test_any_number_of_ranks_becomes_any_other(
    partition: Partition, before: int, after: int
) -> None:
    whole = torch.arange(24.0 * 24).view(24, 24)
    axis = CUT[partition]
    parts = list(whole.chunk(before, axis))
    for rank in range(after):
        kept = merge(parts, partition, name="w", keep=(rank, after), dtype=torch.float32)
        assert torch.equal(kept, whole.chunk(after, axis)[rank])


def test_vocabulary_padding_is_dropped_even_where_real_rows_straddle_ranks() -> None:
    padded = torch.arange(32.0)[:, None]
    merged = merge(padded.chunk(2), "vocabulary", name="w", keep=(1, 2), dtype=torch.float32)
    assert merged[:, 0].tolist() == list(range(VOCABULARY))


def test_the_result_is_memory_of_its_own() -> None:
    whole = torch.ones(4)
    kept = merge([whole], "whole", name="w", dtype=torch.float32)
    kept.zero_()
    assert whole.sum() == 4


@pytest.mark.parametrize(
    ("parts", "dtype", "shared"),
    [
        (1, torch.float32, True),
        (2, torch.float32, False),
        (1, torch.bfloat16, False),
    ],
)
def test_memory_is_shared_only_where_nothing_has_to_change(
    parts: int, dtype: torch.dtype, shared: bool
) -> None:
    rows = torch.ones(8, 2)
    pieces = rows.chunk(parts)
    kept = merge(pieces, "rows", name="w", keep=(1, 2), dtype=dtype, share=True)
    rows.zero_()
    assert kept.shape == (4, 2)
    assert bool((kept == 0).all()) == shared


def test_columns_are_never_shared() -> None:
    """A view of some columns would keep its rows far apart, and matrix products slow."""
    whole = torch.ones(4, 4)
    assert merge(
        [whole], "columns", name="w", keep=(0, 2), dtype=torch.float32, share=True
    ).is_contiguous()


def test_ranks_that_disagree_on_a_whole_weight_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"bias differs between .* 0 and 1"):
        merge([torch.ones(3), torch.zeros(3)], "whole", name="bias", dtype=torch.float32)


def test_a_weight_that_cannot_be_shared_equally_is_refused() -> None:
    with pytest.raises(ModelError, match="16 heads cannot be shared equally by 3"):
        merge([torch.ones(16, 3, 2)], "heads", name="w", keep=(0, 3), dtype=torch.float32)


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        # Two heads of size 2; q3 is the third query value: head 1, first entry.
        ("v0", "q1 q2 q3 q4 k1 k2 k3 k4 v1 v2 v3 v4"),
        ("v1", "q1 k1 v1 q2 k2 v2 q3 k3 v3 q4 k4 v4"),
        ("v2", "q1 q2 k1 k2 v1 v2 q3 q4 k3 k4 v3 v4"),
    ],
)
def test_orders_of_query_key_value_rows(order: QkvOrder, rows: str) -> None:
    code = {f"{part}{n}": 10 * i + n for i, part in enumerate("qkv") for n in range(1, 5)}
    stored = torch.tensor([code[row] for row in rows.split()])
    heads = by_head(stored, order, 2)
    assert heads.tolist() == [
        [[1, 2], [11, 12], [21, 22]],
        [[3, 4], [13, 14], [23, 24]],
    ]
    assert torch.equal(from_heads(heads, order), stored)


def test_every_order_has_a_case_above() -> None:
    assert set(get_args(QkvOrder)) == {"v0", "v1", "v2"}
