"""Tasks and models at a glance: every figure with its interval, beside the published ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tape_bench.report.plots import style
from tape_bench.report.table import Cell, Row, Section

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 40
"""Rows one picture can hold and still be read."""

MOST_PANELS = 12
"""Small multiples, likewise."""

_OWN, _CONTROL = style.PALETTE[0], style.PALETTE[1]


def intervals(section: Section) -> Figure:
    """Draw one panel a task: our runs with their intervals, one line each."""
    rows = [row for row in section.rows if not row.published][:MOST_ROWS]
    count = len(section.columns)
    figure, axes = style.figure(1, count, 1.6 + 2.0 * count, 1.3 + 0.32 * len(rows))
    for index, (panel, column) in enumerate(zip(axes, section.columns, strict=True)):
        _marks(panel, [(place, row, row.cells[index]) for place, row in enumerate(rows)])
        panel.set_title(style.name(column.title))
        panel.set_xlabel(style.name(column.label))
        _lines(panel, [_label(row) for row in rows], named=index == 0)
    return figure


def against_published(section: Section) -> Figure:
    """Draw small multiples, one a run of ours: its figures on the range of the published ones.

    Figures that must not be set beside the others are drawn hollow.
    """
    ours = [row for row in section.rows if not row.published][:MOST_PANELS]
    published = [row for row in section.rows if row.published]
    names = [style.name(column.title) for column in section.columns]
    columns = min(3, len(ours))
    lines = -(-len(ours) // columns)
    height = 0.9 + 0.3 * len(names)
    figure, axes = style.figure(lines, columns, 3.4 * columns, height * lines)
    for number, (panel, row) in enumerate(zip(axes, ours, strict=False)):
        for other in (*published, row):
            _marks(panel, [(place, other, cell) for place, cell in enumerate(other.cells)])
        panel.set_title(_label(row))
        _lines(panel, names, named=number % columns == 0)
    for panel in axes[len(ours) :]:
        panel.set_visible(False)
    return figure


def _marks(panel: Axes, figures: Sequence[tuple[int, Row, Cell]]) -> None:
    """Draw figures at their places, all of one look at once."""
    points: dict[tuple[str, bool, str], list[tuple[float, int]]] = defaultdict(list)
    for place, row, cell in figures:
        if cell.value is not None:
            colour = style.GREY if row.published else _CONTROL if row.control else _OWN
            look = "s" if row.control else "o", not cell.daggers, colour
            points[look].append((cell.value, place))
            if cell.low is not None and cell.high is not None:
                panel.hlines(place, cell.low, cell.high, color=colour, linewidth=1.6)
    for (marker, filled, colour), where in points.items():
        values, places = zip(*where, strict=True)
        face = colour if filled else "white"
        panel.plot(
            values, places, marker, linestyle="", color=colour, markerfacecolor=face, markersize=5
        )


def _lines(panel: Axes, names: Sequence[str], named: bool) -> None:
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.set_yticks(range(len(names)), names if named else [""] * len(names))
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", color=style.FAINT, linewidth=0.6)
    panel.set_axisbelow(True)


def _label(row: Row) -> str:
    variant = f" ({row.variant})" if row.variant else ""
    return style.name(f"{row.model}{variant}")
