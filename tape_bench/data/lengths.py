"""What happens to proteins longer than can be read: stated, and counted one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tape_bench.cards import LengthPolicy
from tape_bench.data.examples import Split
from tape_bench.errors import DataError


def apply_length_policy(split: Split, policy: LengthPolicy, longest: int | None) -> Split:
    """Deal with proteins longer than can be read, and count every one.

    Args:
        split: the examples.
        policy: `error`; `skip` them; `truncate` sequence and residue targets; or `window`:
            keep them whole, to be read in overlapping windows.
        longest: most residues that can be read at once; None for no limit.

    Raises:
        DataError: the policy is `error` and there is one, or nothing is left to score.
    """
    if longest is None:
        return split
    long = split.columns.lengths > longest
    count = int(long.sum())
    if not count:
        return split
    reason = f"longer than {longest} residues"
    if policy == "error":
        first = int(np.argmax(long))
        raise DataError(
            f"{count} of {len(split)} proteins of the split {split.name} are {reason}",
            where=f"the first is {split.ids[first]} with {split.columns.lengths[first]}",
            fix="choose the length policy skip, truncate or window, or a model that reads more",
        )
    if policy == "skip":
        kept = split.take(np.flatnonzero(~long))
        return replace(kept, left_out={**split.left_out, reason: count}).checked()
    how = "read in windows" if policy == "window" else "the rest left out"
    shortened = {**split.shortened, f"{reason}: {how}": count}
    if policy == "window":
        return replace(split, shortened=shortened)
    return replace(split, columns=split.columns.shorten(longest), shortened=shortened).checked()
