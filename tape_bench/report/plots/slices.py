"""A metric over parts of a test set: by length, or by number of mutations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

VARIED = 1.1
"""How much longer than the shortest protein the longest must be for a picture by length."""


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
        values = [metric.statistic(one).value() for one in parts]
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


def varies(lengths: NDArray[np.int64]) -> bool:
    """Whether there is anything to see by length: variants of one parent all have about its own."""
    return len(groups_of(lengths)[1]) > 1 and bool(lengths.max() >= VARIED * lengths.min())


def draw(lines: Mapping[str, Sequence[Slice]], what: str, metric: str, total: int) -> Figure:
    """Draw the metric over the groups, with intervals and the number of proteins in each.

    Args:
        lines: by name, what is drawn side by side in each group.
        what: the property that groups are made by.
        metric: name of the metric.
        total: proteins there are; how many of them are in no group shown is said.
    """
    figure, (panel,) = style.figure(1, 1, 5.2, 3.2 + 0.12 * (len(lines) - 1))
    shown = {one.label: one.n for slices in lines.values() for one in slices}
    places = {label: place for place, label in enumerate(shown)}
    step = min(0.12, 0.5 / len(lines))
    apart = step * (np.arange(len(lines)) - (len(lines) - 1) / 2)
    for number, (name, slices) in enumerate(lines.items()):
        colour = style.PALETTE[number]
        at = [places[one.label] + apart[number] for one in slices]
        panel.plot(
            at, [one.value for one in slices], style.MARKERS[number],
            linestyle="", color=colour, label=style.name(name),
        )  # fmt: skip
        for place, one in zip(at, slices, strict=True):
            if one.low is not None and one.high is not None:
                panel.plot([place, place], [one.low, one.high], color=colour, linewidth=1.6)
    panel.set_xticks(range(len(shown)), [f"{label}\nn = {n}" for label, n in shown.items()])
    panel.set_xlim(-0.5, len(shown) - 0.5)
    left_out = total - sum(shown.values())
    panel.set_xlabel(f"{what} ({left_out} of {total} proteins not shown)" if left_out else what)
    panel.set_ylabel(metric)
    panel.grid(axis="y", color=style.FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    if len(lines) > 1:
        figure.legend(loc="outside lower center", ncols=2)
    return figure
