"""What each variant of a task is a variant of."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.examples import Split
from tape_bench.errors import UsageError


def parents_of(split: Split) -> list[str]:
    """Return the parent of each example, in order.

    The card's sequence, where that is what most of the split's proteins have at each place; else
    the consensus of the example's cluster, or of the whole split where data name no clusters.

    Raises:
        UsageError: the card names no parent: its proteins are no variants.
    """
    card = split.card
    if card.parent is None:
        raise UsageError(
            f"the card of {card.name} names no parent: its proteins are no variants of one",
            fix="choose fluorescence or stability, or say [parent] in the card",
        )
    named = split.columns.clusters or [""] * len(split)
    members: dict[str, list[str]] = defaultdict(list)
    for cluster, sequence in zip(named, split.sequences, strict=True):
        members[cluster].append(sequence)
    found = {cluster: consensus(sequences) for cluster, sequences in members.items()}
    return [found[cluster] for cluster in named]


def consensus(sequences: Sequence[str]) -> str:
    """Return the most common residue of every position, over sequences of the usual length."""
    usual = Counter(map(len, sequences)).most_common(1)[0][0]
    columns = zip(*(sequence for sequence in sequences if len(sequence) == usual), strict=True)
    return "".join(Counter(column).most_common(1)[0][0] for column in columns)


def places_changed(variant: str, parent: str) -> NDArray[np.int64] | None:
    """Return where a variant differs from its parent, from 0; None where lengths differ."""
    if len(variant) != len(parent):
        return None
    own, other = (np.frombuffer(one.encode("ascii"), np.uint8) for one in (variant, parent))
    return np.flatnonzero(own != other)
