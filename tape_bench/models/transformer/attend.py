"""Which tokens attend to which: the one thing that padded rows and packed sequences differ in."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tape_bench import kernels

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values `[..., tokens, heads, head]` to what each token gathers, same shape."""

Totals = Callable[[Tensor], Tensor]
"""A number a token, `[..., tokens]`, to its sum over the token's sequence, same shape."""


def attend_padded(mask: Tensor | None) -> Attend:
    """Attend within rows `[batch, tokens]` to the tokens of the mask.

    The mask stays boolean: thresholds and large negative numbers lose their meaning in half
    precision, where TAPE-style masking silently lets padding in.
    """
    seen = None if mask is None else mask.bool()[:, None, None, :]

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # Heads come before tokens here, as the fused attention of torch wants them.
        q, k, v = (x.transpose(-2, -3) for x in (query, key, value))
        gathered = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return gathered.transpose(-2, -3)

    return attend


def attend_packed(offsets: Tensor, longest: int) -> Attend:
    """Attend within each of the sequences that lie end to end in `[tokens]`; see `Layout`."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return kernels.varlen_attention(query, key, value, offsets, longest)

    return attend


def shown(into: list[Tensor]) -> Attend:
    """Attend within one sequence, and put the weights `[heads, tokens, tokens]` aside."""

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (x.transpose(0, 1) for x in (query, key, value))
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).float().softmax(-1)
        into.append(weights)
        gathered: Tensor = weights.to(v.dtype) @ v
        return gathered.transpose(0, 1)

    return attend


def totals_padded(mask: Tensor | None) -> Totals:
    """Sum over rows `[batch, tokens]`, padding left out."""

    def totals(values: Tensor) -> Tensor:
        kept = values if mask is None else values * mask
        return kept.sum(-1, keepdim=True).expand_as(values)

    return totals


def totals_packed(offsets: Tensor) -> Totals:
    """Sum over each of the sequences that lie end to end in `[tokens]`; see `Layout`."""

    def totals(values: Tensor) -> Tensor:
        before = functional.pad(values.cumsum(0), (1, 0))
        sums = before[offsets[1:].long()] - before[offsets[:-1].long()]
        return torch.repeat_interleave(sums, offsets.diff().long(), output_size=len(values))

    return totals
