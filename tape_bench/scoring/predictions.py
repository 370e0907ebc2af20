"""What a head said about one split, and what is true: the only thing a metric ever sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tape_bench.cards import Kind
from tape_bench.data.scorable import SMALLEST_SEPARATION

_Derived = TypeVar("_Derived")


@dataclass(frozen=True)
class Predictions:
    """Predictions and truth for the examples of one split, one flat row of items.

    What an item is depends on the kind of task:

    ==============  ======================  ===========================  =====================
    kind            items of one example    values                       targets
    ==============  ======================  ===========================  =====================
    token_class     its residues            [items, classes] scores      int, -1 unlabelled
    sequence_class  the example             [items, classes] scores      int
    sequence_value  the example             [items] predicted value      float
    residue_pair    pairs i < j, j - i >= 6 [items] contact probability  int: 1, 0, -1 invalid
                    (`numpy.triu_indices(L, 6)` order)
    ==============  ======================  ===========================  =====================

    Scores may be logits or probabilities: metrics use their order only.
    """

    kind: Kind
    ids: tuple[str, ...]
    """Example ids, each once, `[examples]`."""
    lengths: NDArray[np.int64]
    """Residues of each example, `[examples]`."""
    values: NDArray[np.float32]
    targets: NDArray[np.float64] | NDArray[np.int64]
    clusters: NDArray[np.int64] | None = None
    """Which examples belong together, as numbers, `[examples]`; None if each stands alone."""
    _derived: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of items each example has, `[examples]`."""
        return items_per_example(self.kind, self.lengths)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each example's items begin, `[examples + 1]`."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    def reordered(self, ids: tuple[str, ...]) -> Predictions:
        """Return the same predictions with the examples in this order."""
        if ids == self.ids:
            return self
        place = {id: number for number, id in enumerate(self.ids)}
        order = np.array([place[id] for id in ids], dtype=np.int64)
        counts, lengths = self.counts[order], self.lengths[order]
        begins = np.cumsum(counts) - counts
        items = np.arange(counts.sum()) + np.repeat(self.offsets[order] - begins, counts)
        clusters = None if self.clusters is None else self.clusters[order]
        return Predictions(
            self.kind, ids, lengths, self.values[items], self.targets[items], clusters
        )

    def derived(self, statistic: Callable[[Predictions], _Derived]) -> _Derived:
        """Return `statistic(self)`, computed once however many metrics rest on it."""
        if statistic not in self._derived:
            self._derived[statistic] = statistic(self)
        return self._derived[statistic]  # type: ignore[no-any-return]

    def __post_init__(self) -> None:
        items = int(self.counts.sum())
        assert len(set(self.ids)) == len(self.ids) == len(self.lengths), "ids must be unique"
        assert self.clusters is None or len(self.clusters) == len(self.ids), "one cluster each"
        assert len(self.values) == len(self.targets) == items, (
            f"{len(self.values)} values and {len(self.targets)} targets for {items} items"
        )


def items_per_example(kind: Kind, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many items proteins of these lengths have in a task of this kind."""
    if kind == "token_class":
        return lengths
    if kind == "residue_pair":
        apart = np.maximum(lengths - SMALLEST_SEPARATION, 0)
        return np.asarray(apart * (apart + 1) // 2, np.int64)
    return np.ones_like(lengths)
