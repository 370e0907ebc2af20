"""Linear maps, in the arithmetic that the device is fast in.

A GPU multiplies matrices of half precision fastest, and adds the bias on the way. A CPU without
matrix units for half precision is several times slower in it than in float32: there, weights of
half precision are widened when they are needed, which costs little and rounds nothing. And what
stands around a product counts on a CPU, so biases and sums are put where they cost least.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tape_bench.kernels import dispatch
from tape_bench.kernels.bias_gelu import Gelu, bias_gelu, gelu

PIECE = 1 << 17
"""Numbers that a processor's second cache holds twice over."""


def arithmetic(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Tell in which precision weights of a precision are multiplied on a device."""
    half = dtype in (torch.float16, torch.bfloat16)
    if device.type != "cpu" or not half or (dtype == torch.bfloat16 and _fast_bfloat16()):
        return dtype
    return torch.float32


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Map every token linearly.

    Args:
        x: `[..., inputs]`, in any precision.
        weight: `[outputs, inputs]`.
        bias: `[outputs]`; None for none.

    Returns:
        `[..., outputs]`, in the precision of `arithmetic`.
    """
    x, weight = _at_work(x, weight)
    if bias is None:
        return functional.linear(x, weight)
    bias = bias.to(weight.dtype)
    if _plain_float32(weight):
        # BLAS would add its product to the biases, spread out over all tokens first.
        return functional.linear(x, weight).add_(bias)
    return functional.linear(x, weight, bias)


def adds_for_free(stream: Tensor, weight: Tensor) -> bool:
    """Tell whether a map by these weights should add what comes out to the residual stream.

    In float32 on a CPU: there, BLAS adds its product to something anyway. Elsewhere the layer norm
    that follows does it, see `add_layer_norm`.
    """
    same = stream.dtype == arithmetic(weight.dtype, weight.device)
    return same and _plain_float32(stream) and not dispatch.fused(stream, weight)


def linear_onto(stream: Tensor, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Map every token linearly, and add what comes out to the residual stream.

    Args:
        stream: the residual stream `[..., outputs]`; it is overwritten, unless gradients are on.
        x: `[..., inputs]`.
        weight: `[outputs, inputs]`.
        bias: `[outputs]`.

    Returns:
        The new stream.
    """
    x, weight = _at_work(x, weight)
    total = stream + bias if torch.is_grad_enabled() else stream.add_(bias)
    total.view(-1, total.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]), weight.t())
    return total


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor, form: Gelu) -> Tensor:
    """Map every token linearly, then bend what comes out.

    Args:
        x: `[..., inputs]`, in any precision.
        weight: `[outputs, inputs]`.
        bias: `[outputs]`.
        form: "tanh" for the approximation Megatron trains with, "erf" for the exact GELU.

    Returns:
        `[..., outputs]`, in the precision of `arithmetic`.
    """
    x, weight = _at_work(x, weight)
    bias = bias.to(weight.dtype)
    if dispatch.fused(x, weight, bias):
        return bias_gelu(functional.linear(x, weight), bias, form)
    trained = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
    if _plain_float32(weight) and not trained:
        return _bend_in_cache(functional.linear(x, weight), bias, form)
    one_pass = None if trained or not x.numel() else _one_pass(x.device.type, x.dtype)
    if one_pass is not None:
        bent: Tensor = one_pass(x, weight, bias, "gelu", [], "tanh" if form == "tanh" else "none")
        return bent
    # A matrix product adds a bias for little, so the reference leaves it there.
    return gelu(functional.linear(x, weight, bias), form)


def _bend_in_cache(x: Tensor, bias: Tensor, form: Gelu) -> Tensor:
    """Bend `x + bias` in place, in pieces that the processor's cache holds through all steps."""
    for piece in x.view(-1, len(bias)).split(max(1, PIECE // len(bias))):
        piece.add_(bias)
        if form == "tanh":
            # x times the logistic function of 1.59576912 x + 0.07135482 x^3, see `bias_gelu`:
            # torch's own GELU of this form takes four times as long.
            squared = torch.addcmul(x.new_tensor(1.59576912), piece, piece, value=0.07135482)
            piece.mul_(squared.mul_(piece).sigmoid_())
        else:
            piece.copy_(functional.gelu(piece))
    return x


def _at_work(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    dtype = arithmetic(weight.dtype, weight.device)
    return x.to(dtype), weight.to(dtype)


def _plain_float32(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


@functools.cache
def _fast_bfloat16() -> bool:
    """Tell whether this processor multiplies bfloat16 faster than float32, as far as is known.

    What it is asked is what it is, not how fast it is: values must not depend on a stopwatch.
    Intel's processors have AVX-512's instructions for it, too, at half the rate of float32 where it
    was measured; only their matrix units are fast.
    """
    ask: Callable[[], Any] = getattr(torch.cpu, "get_capabilities", dict)
    has = ask()
    avx = has.get("avx512_bf16") and "Intel" not in has.get("cpu_name", "Intel")
    return bool(has.get("amx_bf16") or avx or has.get("bf16"))


@functools.cache
def _one_pass(device: str, dtype: torch.dtype) -> Callable[..., Any] | None:
    """Find oneDNN's bfloat16 map that bends its outputs before they leave the processor's cache.

    Torch has it under a private name, for code it compiles.
    """
    if device != "cpu" or dtype != torch.bfloat16:
        return None
    avx = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    if not avx or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
