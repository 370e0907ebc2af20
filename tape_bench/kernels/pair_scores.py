"""Pair scores: how likely each two residues touch, without features written out for each pair.

A linear map of the products x_i * x_j is X diag(w) X^T, and one of the differences x_i - x_j is
u_i - u_j with u = X w. So nothing larger than the `[residues, residues]` scores is ever made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tape_bench.kernels import dispatch
from tape_bench.kernels.language import kernel, launch, tl


def pair_scores(
    x: Tensor, product: Tensor, difference: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """Score every pair of residues linearly by the products and differences of their channels.

    Gradients reach all four inputs, in memory of the order of the scores themselves.

    Args:
        x: representations `[..., residues, hidden]`.
        product: weights of x_i * x_j, `[channels, hidden]`.
        difference: weights of x_i - x_j, `[channels, hidden]`; None for none.
        bias: `[channels]`; None for none.

    Returns:
        `[..., channels, residues, residues]`, float32 at least.
    """
    hidden, channels = x.shape[-1], product.shape[0]
    scores: Tensor = _PairScores.apply(  # type: ignore[no-untyped-call]
        x,
        product,
        x.new_zeros((channels, hidden)) if difference is None else difference,
        x.new_zeros(channels) if bias is None else bias,
    )
    return scores


def reference(x: Tensor, product: Tensor, lean: Tensor, bias: Tensor) -> Tensor:
    """Compute the scores in plain torch, from `lean` = u `[..., residues, channels]`."""
    scores = x.new_empty((*x.shape[:-2], len(product), x.shape[-2], x.shape[-2]))
    for channel, weight in enumerate(product):
        u = lean[..., channel]
        lift = u + bias[channel]
        out = scores[..., channel, :, :]
        out[...] = (x * weight) @ x.mT
        out += lift[..., :, None]
        out -= u[..., None, :]
    return scores


class _PairScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, product: Tensor, difference: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, product, difference, bias)
        precision = torch.promote_types(torch.promote_types(x.dtype, product.dtype), torch.float32)
        run = _fused if dispatch.fused(x, product, difference, bias) else reference
        wide = x.to(precision)
        lean = wide @ difference.to(precision).T
        return run(wide, product.to(precision), lean, bias.to(precision))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor]:
        x, product, difference, _ = ctx.saved_tensors
        x, product, difference = (t.to(gradient.dtype) for t in (x, product, difference))
        by_lean = (gradient.sum(-1) - gradient.sum(-2)).mT
        # A probe's representations are frozen: half of the work would be thrown away.
        by_x = by_lean @ difference if ctx.needs_input_grad[0] else None
        by_product = torch.empty_like(product)
        for channel, weight in enumerate(product):
            by_pair = gradient[..., channel, :, :]
            pulled = by_pair @ x
            by_product[channel] = (pulled * x).flatten(0, -2).sum(0)
            if by_x is not None:
                by_x += (pulled + by_pair.mT @ x) * weight
        by_difference = by_lean.flatten(0, -2).T @ x.flatten(0, -2)
        by_bias = gradient.sum((-1, -2)).reshape(-1, len(product)).sum(0)
        return by_x, by_product, by_difference, by_bias


def _fused(x: Tensor, product: Tensor, lean: Tensor, bias: Tensor) -> Tensor:
    x, product, lean, bias = (t.contiguous() for t in (x, product, lean, bias))
    *lead, residues, hidden = x.shape
    channels = len(product)
    scores = x.new_empty((*lead, channels, residues, residues))
    if not scores.numel():
        return scores
    block = 64
    tiles = -(-residues // block)
    launch(
        _pair_scores, (tiles * tiles, channels, x.numel() // (residues * hidden)),
        x, product, lean, bias, scores, residues, hidden, tiles,
        block=block, depth=32, num_warps=4, num_stages=3,
    )  # fmt: skip
    return scores


@kernel
def _pair_scores(
    x: tl.tensor,
    product: tl.tensor,
    lean: tl.tensor,
    bias: tl.tensor,
    scores: tl.tensor,
    residues: tl.tensor,
    hidden: tl.tensor,
    tiles: tl.tensor,
    block: tl.constexpr,
    depth: tl.constexpr,
) -> None:
    down, across = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    # The products are symmetric: each tile above the diagonal also gives the one below.
    if across < down:
        return
    channel, channels = tl.program_id(1), tl.num_programs(1)
    protein = tl.program_id(2).to(tl.int64)
    i = down * block + tl.arange(0, block)
    j = across * block + tl.arange(0, block)
    step = tl.arange(0, depth)
    x += protein * residues * hidden
    total = tl.zeros([block, block], dtype=tl.float32)
    for first in range(0, hidden, depth):
        inside = first + step < hidden
        weight = tl.load(product + channel * hidden + first + step, mask=inside, other=0.0)
        x_i = tl.load(
            x + i[:, None] * hidden + (first + step)[None, :],
            mask=(i < residues)[:, None] & inside[None, :],
            other=0.0,
        )
        x_j = tl.load(
            x + j[:, None] * hidden + (first + step)[None, :],
            mask=(j < residues)[:, None] & inside[None, :],
            other=0.0,
        )
        # One pass of tf32 keeps eleven bits, three keep what float32 has.
        total = tl.dot(x_i * weight[None, :], tl.trans(x_j), total, input_precision="tf32x3")
    lean += protein * residues * channels + channel
    u_i = tl.load(lean + i * channels, mask=i < residues, other=0.0)
    u_j = tl.load(lean + j * channels, mask=j < residues, other=0.0)
    tilt = u_i[:, None] - u_j[None, :]
    total += tl.load(bias + channel)
    scores += (protein * channels + channel) * residues * residues
    here = i[:, None].to(tl.int64) * residues + j[None, :]
    there = j[:, None].to(tl.int64) * residues + i[None, :]
    inside = (i < residues)[:, None] & (j < residues)[None, :]
    tl.store(scores + here, total + tilt, mask=inside)
    if across > down:
        tl.store(scores + there, tl.trans(total - tilt), mask=tl.trans(inside))
