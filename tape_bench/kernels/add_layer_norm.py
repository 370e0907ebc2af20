"""Residual add and layer norm: one block's output joins the stream, the next one's input leaves.

The stream stays in float32 however low the precision of the blocks: sums of dozens of layers in
float16 lose what the last layers add.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tape_bench.kernels import dispatch
from tape_bench.kernels.language import kernel, launch, power_of_two, tl


def add_layer_norm(
    residual: Tensor,
    branch: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    branch_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Add a block's output to the residual stream, and normalise the sum for the next block.

    Args:
        residual: the stream `[..., hidden]`, float32 (float64 in a float64 model).
        branch: what a block computed `[..., hidden]`, in the precision of the weights.
        weight: scale of the layer norm `[hidden]`.
        bias: shift of the layer norm `[hidden]`.
        eps: added to the variance; 1e-12 is safe, for means and variances are float32.
        branch_bias: bias `[hidden]` still to be added to `branch`, as when it is the sum of
            several processes' shares.

    Returns:
        The new stream, in the precision of `residual`, and its layer norm, in that of `branch`.
    """
    biases = () if branch_bias is None else (branch_bias,)
    run = _fused if dispatch.fused(residual, branch, weight, bias, *biases) else reference
    return run(residual, branch, weight, bias, eps, branch_bias)


def reference(
    residual: Tensor,
    branch: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    branch_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute `add_layer_norm` in plain torch."""
    stream = residual + branch
    if branch_bias is not None:
        stream = stream + branch_bias
    weight, bias = weight.to(stream.dtype), bias.to(stream.dtype)
    normed = functional.layer_norm(stream, weight.shape, weight, bias, eps)
    return stream, normed.to(branch.dtype)


def _fused(
    residual: Tensor,
    branch: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float,
    branch_bias: Tensor | None,
) -> tuple[Tensor, Tensor]:
    residual, branch = residual.contiguous(), branch.contiguous()
    stream, normed = torch.empty_like(residual), torch.empty_like(branch)
    hidden = residual.shape[-1]
    if not residual.numel():
        return stream, normed
    block = power_of_two(hidden)
    launch(
        _add_layer_norm, (residual.numel() // hidden,),
        residual, branch, branch_bias, weight, bias, stream, normed, hidden, eps,
        block=block, num_warps=4 if block <= 2048 else 8,
    )  # fmt: skip
    return stream, normed


@kernel
def _add_layer_norm(
    residual: tl.tensor,
    branch: tl.tensor,
    branch_bias: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    stream: tl.tensor,
    normed: tl.tensor,
    hidden: tl.tensor,
    eps: tl.tensor,
    block: tl.constexpr,
) -> None:
    channel = tl.arange(0, block)
    inside = channel < hidden
    at = tl.program_id(0).to(tl.int64) * hidden + channel
    x = tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
    x += tl.load(branch + at, mask=inside, other=0.0).to(tl.float32)
    if branch_bias is not None:
        x += tl.load(branch_bias + channel, mask=inside, other=0.0).to(tl.float32)
    tl.store(stream + at, x.to(stream.dtype.element_ty), mask=inside)
    # The row stays in registers, so a second pass for the variance costs no memory traffic and
    # loses nothing to cancellation.
    centred = tl.where(inside, x - tl.sum(x) / hidden, 0.0)
    spread = tl.rsqrt(tl.sum(centred * centred) / hidden + eps)
    scale = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
    y = centred * spread * scale + shift
    tl.store(normed + at, y.to(normed.dtype.element_ty), mask=inside)
