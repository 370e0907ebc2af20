"""Segment mean: one vector a protein, from the vectors of its residues, without padding."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from tape_bench.kernels import dispatch
from tape_bench.kernels.language import kernel, launch, tl


def segment_mean(tokens: Tensor, offsets: Tensor, leading: int = 0, trailing: int = 0) -> Tensor:
    """Average the tokens of each of the sequences that lie end to end.

    Args:
        tokens: `[tokens of all sequences, hidden]`.
        offsets: where each sequence begins, and at last where all end, `[sequences + 1]`.
        leading: special tokens at the start of each sequence, which the mean leaves out.
        trailing: special tokens at the end of each sequence, likewise.

    Returns:
        `[sequences, hidden]`, summed and returned in float32 (float64 from float64 tokens). A
        sequence with nothing left to average gives zeros.
    """
    run = _fused if dispatch.fused(tokens) else reference
    return run(tokens, offsets, leading, trailing)


def reference(tokens: Tensor, offsets: Tensor, leading: int = 0, trailing: int = 0) -> Tensor:
    """Compute `segment_mean` in plain torch."""
    precision = torch.promote_types(tokens.dtype, torch.float32)
    means = tokens.new_zeros((len(offsets) - 1, tokens.shape[-1]), dtype=precision)
    for row, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
        if start + leading < end - trailing:
            means[row] = tokens[start + leading : end - trailing].mean(0, dtype=precision)
    return means


def _fused(tokens: Tensor, offsets: Tensor, leading: int, trailing: int) -> Tensor:
    tokens = tokens.contiguous()
    segments, hidden = len(offsets) - 1, tokens.shape[-1]
    means = tokens.new_empty((segments, hidden), dtype=torch.float32)
    if not segments:
        return means
    height, width = 16, 128
    launch(
        _segment_mean, (segments, -(-hidden // width)),
        tokens, offsets, means, hidden, leading, trailing,
        height=height, width=width, num_warps=4,
    )  # fmt: skip
    return means


@kernel
def _segment_mean(
    tokens: tl.tensor,
    offsets: tl.tensor,
    means: tl.tensor,
    hidden: tl.tensor,
    leading: tl.tensor,
    trailing: tl.tensor,
    height: tl.constexpr,
    width: tl.constexpr,
) -> None:
    segment = tl.program_id(0)
    start = tl.load(offsets + segment).to(tl.int64) + leading
    length = (tl.load(offsets + segment + 1).to(tl.int64) - trailing - start).to(tl.int32)
    channel = tl.program_id(1) * width + tl.arange(0, width)
    inside = channel < hidden
    row = tl.arange(0, height)
    tokens += start * hidden
    total = tl.zeros([height, width], dtype=tl.float32)
    for first in range(0, length, height):
        at = (first + row)[:, None].to(tl.int64) * hidden + channel[None, :]
        mask = (first + row < length)[:, None] & inside[None, :]
        total += tl.load(tokens + at, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(total, 0) / tl.maximum(length, 1)
    tl.store(means + segment.to(tl.int64) * hidden + channel, mean, mask=inside)
