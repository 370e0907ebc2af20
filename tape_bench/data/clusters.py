"""Which proteins belong together: as evidence, a cluster of them counts once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray


def joined(*relations: Sequence[Hashable]) -> NDArray[np.int64]:
    """Put together what any of several labellings puts together, and what follows from that.

    Where A and B share a sequence, and B and C a parent, all three are one cluster.

    Args:
        relations: one label an example each; examples of equal labels belong together.

    Returns:
        Numbers of the clusters, from 0 in the order of their first examples, `[examples]`.
    """
    above = list(range(len(relations[0])))

    def top(example: int) -> int:
        while above[example] != example:
            above[example] = above[above[example]]
            example = above[example]
        return example

    for labels in relations:
        first: dict[Hashable, int] = {}
        for example, label in enumerate(labels):
            a, b = sorted((top(first.setdefault(label, example)), top(example)))
            above[b] = a
    number: dict[int, int] = {}
    return np.array(
        [number.setdefault(top(example), len(number)) for example in range(len(above))], np.int64
    )
