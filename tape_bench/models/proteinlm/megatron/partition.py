"""How tensor-parallel ranks share a weight: merging and splitting, as pure functions.

Nothing is copied before `gather`, and that touches only the rows and columns asked for: from
a memory-mapped file no more than these is ever read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tape_bench.errors import CheckpointError, ModelError
from tape_bench.models.proteinlm.config import QkvOrder
from tape_bench.models.proteinlm.mapping import VOCABULARY, Partition

Rank = tuple[int, int]
"""A tensor-parallel rank and how many there are: `(0, 1)` is the whole model."""


def by_head(rows: Tensor, order: QkvOrder, head_size: int) -> Tensor:
    """View one rank's fused query, key and value rows as `[heads, 3, head, ...]`.

    Args:
        rows: `[3 * heads * head, ...]` as the file has them.
        order: how the file has them; see `QkvOrder`.
        head_size: width of one head.
    """
    rest = rows.shape[1:]
    if order == "v0":
        return rows.view(3, -1, head_size, *rest).movedim(0, 1)
    if order == "v1":
        return rows.view(-1, head_size, 3, *rest).movedim(2, 1)
    return rows.view(-1, 3, head_size, *rest)


def from_heads(heads: Tensor, order: QkvOrder) -> Tensor:
    """Lay `[heads, 3, head, ...]` out as fused rows: the inverse of `by_head`."""
    if order == "v0":
        heads = heads.movedim(1, 0)
    elif order == "v1":
        heads = heads.movedim(1, 2)
    return heads.flatten(0, 2)


def merge(
    parts: Sequence[Tensor],
    partition: Partition,
    *,
    name: str,
    keep: Rank = (0, 1),
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    share: bool = False,
) -> Tensor:
    """Merge the parts of a weight over any number of ranks, or cut out what one rank keeps.

    Args:
        parts: one tensor a rank, in rank order; `heads` parts come from `by_head`.
        partition: how the ranks share the weight.
        name: the weight, for messages.
        keep: the rank to keep for, and of how many. The vocabulary is never cut: 31 rows are
            less than the trouble.
        dtype: precision of the result.
        device: where the result lies.
        share: give a view of the one part that holds everything as it should be, where there
            is such a part, instead of a copy.

    Raises:
        CheckpointError: ranks disagree on a weight that every rank has whole.
        ModelError: the weight cannot be cut into this many equal parts.
    """
    if partition == "whole":
        _check_equal(parts, name)
        parts, axis, (rank, size) = parts[:1], 0, (0, 1)
        total = parts[0].shape[0]
    elif partition == "vocabulary":
        axis, (rank, size) = 0, (0, 1)
        total = VOCABULARY
    else:
        axis, (rank, size) = int(partition == "columns"), keep
        total = sum(part.shape[axis] for part in parts)
    if total % size:
        raise ModelError(
            f"{name}: {total} {partition} cannot be shared equally by {size} ranks",
            fix=f"choose a tensor-parallel size that divides {total}",
        )
    length = total // size
    start = rank * length
    if share and len(parts) == 1 and parts[0].dtype == dtype and torch.device(device).type == "cpu":
        view = parts[0].narrow(axis, start, length)
        if view.is_contiguous():
            return view
    return _copy(parts, axis, start, length, dtype, device)


def _check_equal(parts: Sequence[Tensor], name: str) -> None:
    for rank, part in enumerate(parts[1:], start=1):
        if not torch.equal(part, parts[0]):
            raise CheckpointError(
                f"{name} differs between tensor-parallel ranks 0 and {rank}; "
                "every rank must have the same",
                fix="the shards are not of one run, or one is damaged; get them again",
            )


def _copy(
    parts: Sequence[Tensor],
    axis: int,
    start: int,
    length: int,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:
    """Copy `length` entries from `start` on of the parts laid end to end along an axis."""
    shape = list(parts[0].shape)
    shape[axis] = length
    result = torch.empty(shape, dtype=dtype, device=device)
    offset = -start
    for part in parts:
        first, stop = max(offset, 0), min(offset + part.shape[axis], length)
        if first < stop:
            wanted = part.narrow(axis, first - offset, stop - first)
            result.narrow(axis, first, stop - first).copy_(wanted)
        offset += part.shape[axis]
    return result
