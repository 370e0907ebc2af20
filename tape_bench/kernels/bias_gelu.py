"""Bias and GELU: the bend between the two layers of a transformer's perceptron."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from tape_bench.kernels import dispatch
from tape_bench.kernels.language import kernel, launch, tl

Gelu = Literal["tanh", "erf"]


def bias_gelu(x: Tensor, bias: Tensor, form: Gelu) -> Tensor:
    """Add a bias to every token and bend the sum: `GELU(x + bias)`.

    Args:
        x: `[..., channels]`.
        bias: `[channels]`.
        form: "tanh" for the approximation Megatron trains with, "erf" for the exact GELU.

    Returns:
        `[..., channels]` in the precision of `x`; the kernel computes in float32.
    """
    return (_fused if dispatch.fused(x, bias) else reference)(x, bias, form)


def reference(x: Tensor, bias: Tensor, form: Gelu) -> Tensor:
    """Compute `bias_gelu` in plain torch."""
    return gelu(x + bias, form)


def gelu(x: Tensor, form: Gelu) -> Tensor:
    """Bend in plain torch."""
    if form == "tanh" and x.dtype == torch.float64:
        # Megatron wrote sqrt(2/pi) with eight digits, which only float64 can tell from the root.
        return 0.5 * x * (1 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))
    return functional.gelu(x, approximate="tanh" if form == "tanh" else "none")


def _fused(x: Tensor, bias: Tensor, form: Gelu) -> Tensor:
    x, bias = x.contiguous(), bias.contiguous()
    out = torch.empty_like(x)
    channels = x.shape[-1]
    if not x.numel():
        return out
    rows = x.numel() // channels
    height, width = 4, 1024
    launch(
        _bias_gelu, (-(-rows // height), -(-channels // width)),
        x, bias, out, rows, channels,
        tanh=form == "tanh", height=height, width=width, num_warps=8,
    )  # fmt: skip
    return out


@kernel
def _bias_gelu(
    x: tl.tensor,
    bias: tl.tensor,
    out: tl.tensor,
    rows: tl.tensor,
    channels: tl.tensor,
    tanh: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
) -> None:
    row = tl.program_id(0) * height + tl.arange(0, height)
    channel = tl.program_id(1) * width + tl.arange(0, width)
    at = row[:, None].to(tl.int64) * channels + channel[None, :]
    inside = (row < rows)[:, None] & (channel < channels)[None, :]
    shift = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    y = tl.load(x + at, mask=inside, other=0.0).to(tl.float32) + shift[None, :]
    if tanh:
        # (1 + tanh(z)) / 2 is the logistic function of 2z, and 1.59576912 is twice sqrt(2/pi).
        y = y * tl.sigmoid(1.59576912 * y * (1 + 0.044715 * y * y))
    else:
        y = 0.5 * y * (1 + tl.erf(y * 0.70710678))
    tl.store(out + at, y.to(out.dtype.element_ty), mask=inside)
