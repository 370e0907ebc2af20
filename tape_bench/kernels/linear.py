"""Linear maps, in the arithmetic that the device is fast in.

A GPU multiplies matrices of half precision fastest, and adds the bias on the way. A CPU without
matrix units for half precision is several times slower in it than in float32: there, weights of
half precision are widened when they are needed, which costs little and rounds nothing. And what
stands around a product counts on a CPU, so biases and sums are put where they cost least.

On GPUs of Hopper's generation two passes over memory go into products: the GELU, and the sum with
the residual stream. Which of them run follows from the card, never from a stopwatch: values must
not depend on one.
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

_HALF = (torch.float16, torch.bfloat16)

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
    """Tell whether a map by these weights should add what comes out, and its bias, to the stream.

    In float32 on a CPU: there, BLAS adds its product to something anyway. Elsewhere the layer norm
    that follows does it, see `add_layer_norm`, or the product alone, see `sums_on_gpu`.
    """
    if stream.device.type != "meta" and torch.is_autocast_enabled(stream.device.type):
        # Training in half precision, whose products are not the stream's.
        return False
    same = stream.dtype == arithmetic(weight.dtype, weight.device)
    return same and _plain_float32(stream) and not dispatch.fused(stream, weight)


def sums_on_gpu(stream: Tensor, weight: Tensor) -> bool:
    """Tell whether a map by these weights should add what comes out to the stream, without bias.

    A half-precision product whose sums are float32 anyway adds them to the stream as they are:
    they are not rounded on the way, and the layer norm has a third less to read and write.
    """
    return (
        stream.is_cuda
        and stream.dtype == torch.float32
        and weight.dtype in _HALF
        and dispatch.fused(stream, weight)
        and _adds_in_float32(weight.device, weight.dtype)
    )


def linear_onto(stream: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map every token linearly, and add what comes out to the residual stream.

    Args:
        stream: the residual stream `[..., outputs]`; it is overwritten, unless gradients are on.
        x: `[..., inputs]`.
        weight: `[outputs, inputs]`.
        bias: `[outputs]`; None to add none.

    Returns:
        The new stream.
    """
    apart = torch.is_grad_enabled()
    if bias is None:
        total = stream.clone() if apart else stream
    else:
        total = stream + bias if apart else stream.add_(bias)
    rows, flat = total.view(-1, total.shape[-1]), x.reshape(-1, x.shape[-1])
    if sums_on_gpu(stream, weight):
        _add_product(rows, flat.to(weight.dtype), weight)
    else:
        flat, weight = _at_work(flat, weight)
        rows.addmm_(flat, weight.t())
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
        if form == "tanh" and x.numel() and _bends(x.device, x.dtype):
            flat = _product_bent(x.reshape(-1, x.shape[-1]), weight, bias)
            return flat.view(*x.shape[:-1], -1)
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


def _product_bent(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Let cuBLAS add the bias and bend its sums before it rounds and writes them.

    On a CUDA device alone: there, and nowhere else, it is the tanh form.
    """
    bent: Tensor = torch._addmm_activation(bias, x, weight.t(), use_gelu=True)
    return bent


def _add_product(stream: Tensor, x: Tensor, weight: Tensor) -> None:
    """Add the product of half-precision matrices to a float32 stream, in place."""
    torch.ops.aten.addmm.dtype_out(stream, x, weight.t(), torch.float32, out=stream)


@functools.cache
def _bends(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether products on this GPU bend what comes out."""
    if not _hopper(device) or dtype not in _HALF:
        return False
    x, weight, bias = _tiny(device, dtype)
    exact = gelu(functional.linear(x.float(), weight.float(), bias.float()), "tanh")
    return _agrees(lambda: _product_bent(x, weight, bias), exact)


@functools.cache
def _adds_in_float32(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether products on this GPU add to a float32 stream, which came with torch 2.8."""
    if not _hopper(device):
        return False
    x, weight, _ = _tiny(device, dtype)
    stream = torch.ones(len(x), len(weight), device=device)
    exact = 1 + functional.linear(x.float(), weight.float())

    def add() -> Tensor:
        _add_product(stream, x, weight)
        return stream

    return _agrees(add, exact)


def _hopper(device: torch.device) -> bool:
    """Tell whether a device is of the generation that both were measured to pay on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] == 9


def _tiny(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens, weight and bias to try an operation on."""
    drawn = torch.linspace(-60, 60, 64 * 64, dtype=torch.float64).sin().view(64, 64)
    x, weight, bias = drawn[:16], drawn / 8, drawn[0]
    return x.to(device, dtype), weight.to(device, dtype), bias.to(device, dtype)


def _agrees(run: Callable[[], Tensor], exact: Tensor) -> bool:
    """Tell whether an operation exists in this torch, and computes what it should."""
    try:
        with torch.no_grad():
            error = (run().float() - exact).norm() / exact.norm()
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return False
    return bool(error < 1e-2)


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
