"""Attention over sequences laid end to end: tokens gather from their own sequence, unpadded."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from tape_bench.kernels import dispatch
from tape_bench.kernels.language import kernel, launch, power_of_two, tl

FLASH_FROM = 128
"""Tokens of the longest sequence from which torch's flash attention takes wide heads over.

Flash attention works on 128 queries at a time whatever the length; our kernel fits its blocks to
the sequences. On an H100 ours is faster for heads of 64 over TAPE's lengths mixed (1.35 times) and
within 8 % at any one length; for heads of 80, which it computes in two parts, from about here flash
attention is. `benchmarks/gpu/kernels.py` measures both, `benchmarks/gpu/h100.md` has the table.
"""


def varlen_attention(
    query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, longest: int
) -> Tensor:
    """Let every token gather from all tokens of its sequence, with softmax in float32.

    Args:
        query: `[tokens of all sequences, heads, head size]`; a view into a larger tensor will do.
        key: of the same shape.
        value: of the same shape.
        offsets: where each sequence begins, and at last where all end, `[sequences + 1]`, int32.
        longest: tokens of the longest sequence, or more.

    Returns:
        What each token gathers, of the same shape and precision.
    """
    head = query.shape[-1]
    fused = dispatch.fused(query, key, value)
    # Tensor cores multiply no fewer than 16 channels, and in float32 they round them off.
    if not fused or head < 16 or query.dtype == torch.float32:
        return reference(query, key, value, offsets)
    if _suits_flash(head, longest):
        flash = flash_attention(query.device)
        if flash:
            return flash(query, key, value, offsets, longest)
    if query.is_cuda and sum(_parts(head)) != head and head % 8 == 0:
        return reference(query, key, value, offsets)
    return _fused(query, key, value, offsets, longest)


def _suits_flash(head: int, longest: int) -> bool:
    """Tell whether flash attention is the one to take, where there is one."""
    if head % 8 or head > 256:
        return False
    main, rest = _parts(head)
    if main + rest != head:
        # A second part with columns that stand empty: on an H100 what Triton 3.6 makes of it is
        # not finite for heads of 40 and 72.
        return True
    return longest >= FLASH_FROM and (rest > 0 or head > 64)


def _parts(head: int) -> tuple[int, int]:
    """Return the widths that a head is computed in, powers of two: 80 as 64 + 16.

    Rounded up to 128, a third of the work would be on zeros.
    """
    main = power_of_two(head + 1) // 2
    return main, max(16, power_of_two(head - main)) if head > main else 0


def reference(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor) -> Tensor:
    """Compute `varlen_attention` in plain torch, neighbours of equal length together."""
    gathered, start = [], 0
    for length, equals in itertools.groupby(offsets.diff().tolist()):
        count = len(list(equals))
        rows = slice(start, start + count * length)
        by_head = (
            x[rows].unflatten(0, (count, length)).transpose(1, 2) for x in (query, key, value)
        )
        one = functional.scaled_dot_product_attention(*by_head)
        gathered.append(one.transpose(1, 2).flatten(0, 1))
        start = rows.stop
    return gathered[0] if len(gathered) == 1 else torch.cat(gathered)


Flash = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""Queries, keys, values, offsets and the longest sequence's tokens to what each token gathers."""


@functools.cache
def flash_attention(device: torch.device) -> Flash | None:
    """Find torch's flash attention for packed sequences, and see that it works on a device.

    The operator is called by its own name. `torch.nn.attention.varlen`, which wraps it since torch
    2.10, chooses cuDNN's attention in some versions, whose speed falls to a fifth where lengths
    vary, and its arguments differ from version to version; the operator's first ten do not.
    """
    if device.type != "cuda":
        return None
    query = torch.linspace(-1, 1, 6 * 2 * 64, device=device).view(6, 2, 64).to(torch.float16)
    offsets = torch.tensor([0, 2, 6], dtype=torch.int32, device=device)
    try:
        with torch.no_grad():
            found = _flash(query, query, query, offsets, 4).float()
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return None
    wide = query.float()
    exact = reference(wide, wide, wide, offsets)
    return _flash if bool((found - exact).norm() < 1e-2 * exact.norm()) else None


def _flash(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, longest: int) -> Tensor:
    out: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, offsets, offsets, longest, longest, 0.0, False, False
    )[0]
    return out


def _fused(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, longest: int) -> Tensor:
    query, key, value = (x if x.stride(-1) == 1 else x.contiguous() for x in (query, key, value))
    tokens, heads, head = query.shape
    out = torch.empty((tokens, heads, head), dtype=query.dtype, device=query.device)
    if not tokens:
        return out
    main, rest = _parts(head)
    block = min(128, max(16, power_of_two(longest)))
    tiles = -(-longest // block)
    launch(
        _attention, ((len(offsets) - 1) * tiles, heads),
        query, key, value, out, offsets, tiles,
        *query.stride()[:2], *key.stride()[:2], *value.stride()[:2], *out.stride()[:2],
        head**-0.5, size=head, main_size=main, rest_size=rest, queries=block, keys=64,
        num_warps=8 if block == 128 else 4, num_stages=2,
    )  # fmt: skip
    return out


@kernel
def _attention(
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    out: tl.tensor,
    offsets: tl.tensor,
    tiles: tl.tensor,
    query_token: tl.tensor,
    query_head: tl.tensor,
    key_token: tl.tensor,
    key_head: tl.tensor,
    value_token: tl.tensor,
    value_head: tl.tensor,
    out_token: tl.tensor,
    out_head: tl.tensor,
    scale: tl.tensor,
    size: tl.constexpr,
    main_size: tl.constexpr,
    rest_size: tl.constexpr,
    queries: tl.constexpr,
    keys: tl.constexpr,
) -> None:
    sequence, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    start = tl.load(offsets + sequence).to(tl.int64)
    length = (tl.load(offsets + sequence + 1).to(tl.int64) - start).to(tl.int32)
    if tile * queries >= length:
        return
    head = tl.program_id(1)
    query += start * query_token + head * query_head
    key += start * key_token + head * key_head
    value += start * value_token + head * value_head
    out += start * out_token + head * out_head

    main = tl.arange(0, main_size)[None, :]
    row = tile * queries + tl.arange(0, queries)[:, None]
    q = tl.load(query + row * query_token + main, mask=row < length, other=0.0)
    gathered = tl.zeros([queries, main_size], dtype=tl.float32)
    if rest_size:
        rest = main_size + tl.arange(0, rest_size)[None, :]
        ours = (row < length) & (rest < size)
        q_rest = tl.load(query + row * query_token + rest, mask=ours, other=0.0)
        gathered_rest = tl.zeros([queries, rest_size], dtype=tl.float32)
    peak = tl.full([queries], float("-inf"), dtype=tl.float32)
    total = tl.zeros([queries], dtype=tl.float32)

    # Keys come 64 at a time whatever the batch, so a sequence's values do not depend on it.
    for first in range(0, length, keys):
        other = first + tl.arange(0, keys)[:, None]
        k = tl.load(key + other * key_token + main, mask=other < length, other=0.0)
        scores = tl.dot(q, tl.trans(k))
        if rest_size:
            theirs = (other < length) & (rest < size)
            k_rest = tl.load(key + other * key_token + rest, mask=theirs, other=0.0)
            scores = tl.dot(q_rest, tl.trans(k_rest), scores)
        # Powers of two are what the hardware computes: 1.44269504 is the logarithm of e to base 2.
        scores = tl.where(tl.trans(other < length), scores * (scale * 1.44269504), float("-inf"))
        higher = tl.maximum(peak, tl.max(scores, 1))
        share = tl.exp2(scores - higher[:, None])
        fade = tl.exp2(peak - higher)
        peak = higher
        total = total * fade + tl.sum(share, 1)
        share = share.to(value.dtype.element_ty)
        v = tl.load(value + other * value_token + main, mask=other < length, other=0.0)
        gathered = tl.dot(share, v, gathered * fade[:, None])
        if rest_size:
            v_rest = tl.load(value + other * value_token + rest, mask=theirs, other=0.0)
            gathered_rest *= fade[:, None]
            gathered_rest = tl.dot(share, v_rest, gathered_rest)

    gathered /= total[:, None]
    tl.store(out + row * out_token + main, gathered.to(out.dtype.element_ty), mask=row < length)
    if rest_size:
        gathered_rest /= total[:, None]
        tl.store(out + row * out_token + rest, gathered_rest.to(out.dtype.element_ty), mask=ours)
