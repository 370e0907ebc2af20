"""Fused operations, one a file, each beside its plain torch reference.

Tensors go in and come out. `tape_bench.kernels.dispatch` says who computes them.
"""

from __future__ import annotations

import torch

from tape_bench.errors import UsageError
from tape_bench.kernels import attention, dispatch
from tape_bench.kernels.add_layer_norm import add_layer_norm
from tape_bench.kernels.attention import varlen_attention
from tape_bench.kernels.bias_gelu import bias_gelu
from tape_bench.kernels.layer_norm import layer_norm
from tape_bench.kernels.linear import (
    adds_for_free,
    arithmetic,
    linear,
    linear_gelu,
    linear_onto,
    sums_on_gpu,
)
from tape_bench.kernels.pair_scores import pair_scores
from tape_bench.kernels.segment_mean import segment_mean

__all__ = [
    "add_layer_norm",
    "adds_for_free",
    "arithmetic",
    "bias_gelu",
    "layer_norm",
    "linear",
    "linear_gelu",
    "linear_onto",
    "pair_scores",
    "running",
    "segment_mean",
    "sums_on_gpu",
    "varlen_attention",
]

FUSED = (
    "add_layer_norm",
    "bias_gelu",
    "layer_norm",
    "linear_gelu",
    "pair_scores",
    "segment_mean",
    "varlen_attention",
)
"""Operations that there is a kernel for."""


def running() -> dict[str, str]:
    """Tell for each operation which implementation runs on this machine, and why.

    An operation that cannot run as it was asked to is marked with `!`.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        fused, why = dispatch.choice(device)
    except UsageError as error:
        return dict.fromkeys(FUSED, f"! {error.what}")
    how = f"{'fused' if fused else 'reference'} ({why})"
    answers = dict.fromkeys(FUSED, how)
    if fused and attention.flash_attention(device):
        answers["varlen_attention"] += (
            f"; torch's flash attention from {attention.FLASH_FROM} tokens, reference in float32"
        )
    return answers
