"""Tasks and models at a glance: every figure with its interval, beside the published ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tape_bench.report.leaderboard.table import Cell, Row, Section
from tape_bench.report.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_ROWS = 40
"""Rows one picture can hold and still be read."""

MOST_PANELS = 12
"""Small multiples, likewise."""

_OWN, _CONTROL = style.PALETTE[0], style.PALETTE[1]


def intervals(section: Section, across: int | None = None) -> Figure:
    """Draw one panel a task: our runs with their intervals, one line each, parted by group.

    Args:
        section: the table.
        across: panels side by side; all of them by default.
    """
    rows = [row for row in section.rows if not row.published][:MOST_ROWS]
    count = len(section.columns)
    across = across or count
    lines = -(-count // across)
    labels = [_label(row) for row in rows]
    high = 0.2 + 0.13 * max(label.count("\n") + 1 for label in labels)
    beside = 0.4 + _inches(labels)
    figure, axes = style.figure(
        lines, across, beside + 2.0 * across, (1.1 + high * len(rows)) * lines
    )
    for index, (panel, column) in enumerate(zip(axes, section.columns, strict=True)):
        _marks(panel, [(place, row, row.cells[index]) for place, row in enumerate(rows)])
        panel.set_title(style.name(column.title, 24))
        panel.set_xlabel(style.name(f"{column.label}, {column.split}", 24))
        _lines(panel, labels, named=index % across == 0)
        for border in _borders(section):
            if border < len(rows):
                panel.axhline(border - 0.5, color=style.GREY, linewidth=0.8)
    return figure


def _borders(section: Section) -> list[int]:
    """Return the places of rows where another protocol or other data begin."""
    sizes = [len(group.rows) for group in section.groups if not group.published]
    return [sum(sizes[:count]) for count in range(1, len(sizes))]


def against_published(section: Section, across: int = 3) -> Figure:
    """Draw small multiples, one a run of ours: its figures on the range of the published ones.

    Figures that must not be set beside the others are drawn hollow.
    """
    ours = [row for row in section.rows if not row.published][:MOST_PANELS]
    published = [row for row in section.rows if row.published]
    names = [style.name(column.title) for column in section.columns]
    columns = min(across, len(ours))
    lines = -(-len(ours) // columns)
    height = 0.9 + 0.3 * len(names)
    figure, axes = style.figure(
        lines, columns, 0.4 + _inches(names) + 2.6 * columns, height * lines
    )
    for number, (panel, row) in enumerate(zip(axes, ours, strict=False)):
        for other in (*published, row):
            _marks(panel, [(place, other, cell) for place, cell in enumerate(other.cells)])
        panel.set_title(_label(row))
        _lines(panel, names, named=number % columns == 0)
    for panel in axes[len(ours) :]:
        panel.set_visible(False)
    return figure


def _inches(labels: Sequence[str]) -> float:
    """Return about how wide labels are drawn, the widest line counts."""
    return 0.075 * max(len(line) for label in labels for line in label.splitlines())


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
