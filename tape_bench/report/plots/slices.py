"""A metric over parts of a test set: by length, or by number of mutations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tape_bench.report.plots import style
from tape_bench.scoring.intervals import interval
from tape_bench.scoring.metrics import Metric
from tape_bench.scoring.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 10
"""Proteins a part needs to be shown."""

MOST_GROUPS = 5


@dataclass(frozen=True)
class Slice:
    """The metric over the proteins of one part."""

    label: str
    value: float
    low: float | None
    high: float | None
    n: int


def sliced(
    metric: Metric, predictions: Sequence[Predictions], groups: NDArray[np.int64], labels: list[str]
) -> list[Slice]:
    """Compute a metric for each group of proteins, leaving out groups too small to say anything.

    Args:
        metric: what is computed.
        predictions: one for each seed, of the same proteins.
        groups: which group each protein belongs to, `[examples]`; an index of `labels`.
        labels: name of each group.
    """
    found = []
    for group, label in enumerate(labels):
        chosen = np.flatnonzero(groups == group)
        if len(chosen) < FEWEST:
            continue
        ids = tuple(predictions[0].ids[place] for place in chosen)
        parts = [one.reordered(ids) for one in predictions]
        values = [metric.sample(one).value() for one in parts]
        defined = [value for value in values if value is not None]
        if len(defined) == len(values):
            ends = interval(metric, parts, draws=1000)
            low, high = (ends.low, ends.high) if ends else (None, None)
            found.append(Slice(label, float(np.mean(defined)), low, high, len(chosen)))
    return found


def groups_of(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Cut proteins into groups of about equal number by a whole-numbered property.

    Returns:
        The group of each protein, -1 where the property is negative, which means unknown; and
        the range of each group. A property that hardly varies gives a single group.
    """
    known = values[values >= 0]
    if len(known) < FEWEST:
        return np.full(len(values), -1), []
    # Each group begins at a value of its own, so that equal values are never parted.
    parts = min(MOST_GROUPS, len(known) // FEWEST)
    starts = np.unique(np.quantile(known, np.linspace(0, 1, parts + 1)[:-1], method="higher"))
    ends = [*(starts[1:] - 1), known.max()]
    labels = [
        f"{low}" if low == high else f"{low}–{high}" for low, high in zip(starts, ends, strict=True)
    ]
    return np.searchsorted(starts, values, side="right") - 1, labels


def group_each(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[str]]:
    """Make a group of every value of a property, -1 for negative ones, which mean unknown."""
    known = np.unique(values[values >= 0])
    groups = np.where(values >= 0, np.searchsorted(known, values), -1)
    return groups, [str(value) for value in known]


def draw(slices: Sequence[Slice], what: str, metric: str) -> Figure:
    """Draw the metric over the groups, with intervals and the number of proteins in each."""
    figure, (panel,) = style.figure(1, 1, 5.2, 3.2)
    for place, one in enumerate(slices):
        if one.low is not None and one.high is not None:
            panel.plot([place, place], [one.low, one.high], color=style.PALETTE[0], linewidth=1.6)
        panel.plot(place, one.value, "o", color=style.PALETTE[0])
    names = [f"{one.label}\nn = {one.n}" for one in slices]
    panel.set_xticks(range(len(slices)), names)
    panel.set_xlim(-0.5, len(slices) - 0.5)
    panel.set_xlabel(what)
    panel.set_ylabel(metric)
    panel.grid(axis="y", color=style.FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    return figure
