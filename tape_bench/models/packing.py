"""Which sequences are computed together: of like length, up to a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence


def pack(lengths: Sequence[int], tokens: int, *, padded: bool = False) -> list[list[int]]:
    """Share sequences out, longest first.

    The answer follows from the lengths alone, so an interrupted run that goes on forms the very
    same batches, and computes the very same values.

    Args:
        lengths: tokens of each sequence.
        tokens: most tokens of a batch; a single longer sequence has a batch of its own.
        padded: count every sequence of a batch as long as the longest, for a model that pads.

    Returns:
        Indices of the sequences of each batch.
    """
    batches: list[list[int]] = []
    taken = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batches and padded:
            taken = len(batches[-1]) * lengths[batches[-1][0]]
        needed = lengths[batches[-1][0]] if batches and padded else lengths[index]
        if not batches or taken + needed > tokens:
            batches.append([])
            taken = 0
        batches[-1].append(index)
        taken += lengths[index]
    return batches
