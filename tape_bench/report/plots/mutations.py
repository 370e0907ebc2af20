"""How many mutations a variant has, counted against the parent of its data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.examples import Split

FARTHEST = 0.1
"""Share of positions a usual variant may differ in, to be one of a single parent."""


def counts(train: Split, scored: Split, ids: Sequence[str]) -> NDArray[np.int64] | None:
    """Count the substitutions of scored variants, `[ids]`; -1 where some residue is deleted.

    The parent is not in the files; it is what most training variants have at each position.
    None where the sequences are not variants of one parent.
    """
    origin = parent(train.sequences)
    usual = np.median(substitutions(train.sequences, origin))
    if not 0 <= usual <= FARTHEST * len(origin):
        return None
    counted = substitutions(scored.sequences, origin)
    found = dict(zip(scored.ids, counted, strict=True))
    return np.array([found[id] for id in ids], dtype=np.int64)


def parent(sequences: Sequence[str]) -> str:
    """Return the most common residue of every position, over sequences of the usual length."""
    usual = Counter(len(sequence) for sequence in sequences).most_common(1)[0][0]
    columns = zip(*(sequence for sequence in sequences if len(sequence) == usual), strict=True)
    return "".join(Counter(column).most_common(1)[0][0] for column in columns)


def substitutions(sequences: Sequence[str], parent: str) -> NDArray[np.int64]:
    """Count positions that differ from the parent, `[sequences]`; -1 for another length."""
    letters = np.frombuffer(parent.encode(), dtype=np.uint8)
    return np.array(
        [
            np.count_nonzero(np.frombuffer(sequence.encode(), dtype=np.uint8) != letters)
            if len(sequence) == len(parent)
            else -1
            for sequence in sequences
        ],
        dtype=np.int64,
    )
