from __future__ import annotations

import itertools

import pytest
import torch

from tape_bench.kernels import attention, varlen_attention


def written_out(query, key, value, lengths):
    gathered = []
    for q, k, v in zip(*(x.double().split(lengths) for x in (query, key, value)), strict=True):
        scores = torch.einsum("qhc,khc->hqk", q, k) / q.shape[-1] ** 0.5
        gathered.append(torch.einsum("hqk,khc->qhc", scores.softmax(-1), v))
    return torch.cat(gathered)


def offsets_of(lengths, like):
    bounds = [0, *itertools.accumulate(lengths)]
    return torch.tensor(bounds, dtype=torch.int32, device=like.device)


@pytest.mark.parametrize(
    "lengths",
    [[1], [2], [63], [64], [65], [127], [257], [0], [1, 0, 1], [5, 0, 17, 1, 33], [64, 130, 1]],
    ids=str,
)
@pytest.mark.parametrize("head", [64, 80])
def test_every_sequence_by_itself(draw, near, dtype, head, lengths):
    query, key, value = (draw(sum(lengths), 2, head, dtype=dtype) for _ in range(3))
    expected = written_out(query, key, value, lengths)
    gathered = varlen_attention(query, key, value, offsets_of(lengths, query), max(lengths))
    near(gathered, expected)


@pytest.mark.slow
@pytest.mark.parametrize("length", [1023, 2049])
@pytest.mark.parametrize("head", [64, 80])
def test_long_sequences(draw, near, dtype, head, length):
    query, key, value = (draw(length, 1, head, dtype=dtype) for _ in range(3))
    offsets = offsets_of([length], query)
    near(
        varlen_attention(query, key, value, offsets, length),
        written_out(query, key, value, [length]),
    )


@pytest.mark.parametrize("head", [16, 24, 32, 40, 48, 72, 96, 128])
def test_other_head_sizes(draw, near, dtype, head):
    lengths = [3, 70]
    query, key, value = (draw(73, 2, head, dtype=dtype) for _ in range(3))
    expected = written_out(query, key, value, lengths)
    near(varlen_attention(query, key, value, offsets_of(lengths, query), 70), expected)


def test_it_reads_the_parts_of_one_fused_projection(draw, near, dtype):
    lengths = [40, 7]
    query, key, value = draw(47, 3, 3, 80, dtype=dtype).unbind(-2)
    expected = written_out(query, key, value, lengths)
    near(varlen_attention(query, key, value, offsets_of(lengths, query), 40), expected)


def test_scores_in_the_hundreds_neither_overflow_nor_vanish(draw, dtype):
    query, key = draw(70, 1, 64, dtype=dtype, scale=30), draw(70, 1, 64, dtype=dtype, scale=30)
    value = draw(70, 1, 64, dtype=dtype)
    expected = written_out(query, key, value, [70])
    gathered = varlen_attention(query, key, value, offsets_of([70], query), 70)
    torch.testing.assert_close(gathered.double(), expected, atol=0.02, rtol=0)


def test_a_sequence_does_not_depend_on_its_batch(draw, near, dtype, monkeypatch):
    monkeypatch.setattr(attention, "FLASH_FROM", 1 << 30)
    lengths = [45, 200, 3]
    packed = [draw(248, 2, 80, dtype=dtype) for _ in range(3)]
    together = varlen_attention(*packed, offsets_of(lengths, packed[0]), 200).split(lengths)
    for parts in zip(together, *(x.split(lengths) for x in packed), strict=True):
        mine, *alone = parts
        length = len(mine)
        by_itself = varlen_attention(*alone, offsets_of([length], mine), length)
        near(by_itself, mine.double())
