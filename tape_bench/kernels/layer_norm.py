"""Layer norm of a residual stream that has its sums already, in the precision of the next block.

Where the matrix product itself adds a block's output to the stream, in float32, this is all that is
left to do before the next block: the stream is read once, and not written.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tape_bench.kernels import dispatch
from tape_bench.kernels.language import kernel, launch, power_of_two, tl


def layer_norm(
    stream: Tensor, weight: Tensor, bias: Tensor, eps: float, shift: Tensor | None = None
) -> Tensor:
    """Normalise a residual stream over its last axis.

    Args:
        stream: `[..., hidden]`, float32 (float64 in a float64 model).
        weight: scale of the layer norm `[hidden]`.
        bias: shift of the layer norm `[hidden]`.
        eps: added to the variance.
        shift: what is still to be added to every token of the stream, `[hidden]`: the biases of
            the blocks before, which are no use to add to each token one by one.

    Returns:
        The layer norm of `stream + shift`, `[..., hidden]`, in the precision of `weight`.
    """
    shifts = () if shift is None else (shift,)
    run = _fused if dispatch.fused(stream, weight, bias, *shifts) else reference
    return run(stream, weight, bias, eps, shift)


def reference(
    stream: Tensor, weight: Tensor, bias: Tensor, eps: float, shift: Tensor | None = None
) -> Tensor:
    """Compute `layer_norm` in plain torch."""
    whole = stream if shift is None else stream + shift
    wide, late = weight.to(whole.dtype), bias.to(whole.dtype)
    return functional.layer_norm(whole, weight.shape, wide, late, eps).to(weight.dtype)


def _fused(
    stream: Tensor, weight: Tensor, bias: Tensor, eps: float, shift: Tensor | None
) -> Tensor:
    stream = stream.contiguous()
    normed = torch.empty_like(stream, dtype=weight.dtype)
    hidden = stream.shape[-1]
    if not stream.numel():
        return normed
    block = power_of_two(hidden)
    launch(
        _layer_norm, (stream.numel() // hidden,),
        stream, shift, weight, bias, normed, hidden, eps,
        block=block, num_warps=4 if block <= 2048 else 8,
    )  # fmt: skip
    return normed


@kernel
def _layer_norm(
    stream: tl.tensor,
    shift: tl.tensor,
    weight: tl.tensor,
    bias: tl.tensor,
    normed: tl.tensor,
    hidden: tl.tensor,
    eps: tl.tensor,
    block: tl.constexpr,
) -> None:
    channel = tl.arange(0, block)
    inside = channel < hidden
    at = tl.program_id(0).to(tl.int64) * hidden + channel
    x = tl.load(stream + at, mask=inside, other=0.0).to(tl.float32)
    if shift is not None:
        x += tl.load(shift + channel, mask=inside, other=0.0).to(tl.float32)
    centred = tl.where(inside, x - tl.sum(x) / hidden, 0.0)
    spread = tl.rsqrt(tl.sum(centred * centred) / hidden + eps)
    scale = tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    late = tl.load(bias + channel, mask=inside, other=0.0).to(tl.float32)
    y = centred * spread * scale + late
    tl.store(normed + at, y.to(normed.dtype.element_ty), mask=inside)
