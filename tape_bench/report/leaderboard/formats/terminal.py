"""The leaderboard on a terminal: one table where it fits, otherwise a block for each task."""

from __future__ import annotations

import io
from collections.abc import Iterator
from textwrap import wrap

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tape_bench.report import wording
from tape_bench.report.layout import natural_width, say
from tape_bench.report.leaderboard.table import Cell, Column, Group, Leaderboard, Row, Section
from tape_bench.report.wording import plain

_RAISED = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")

_TITLE = 12
"""Columns a task's title may take in the table before it is parted, between words only."""


def terminal(leaderboard: Leaderboard, console: Console) -> None:
    """Print the leaderboard; names go through as plain text, so that none can steer a terminal."""
    for section in leaderboard.sections:
        table = _table(leaderboard, section)
        say(console, section.caption, "bold yellow" if section.simulated else "bold")
        if natural_width(console, table) <= console.width:
            console.print(table)
        else:
            for index, column in enumerate(section.columns):
                _block(leaderboard, section, index, column, console)
            console.print()
    for warning in leaderboard.warnings:
        say(console, f"note: {plain(warning)}", "yellow")
    for line in wording.legend(leaderboard):
        say(console, line, "dim")
    for text, letter in leaderboard.footnotes.items():
        say(console, f"{letter}  {plain(text)}", "dim")


def text(leaderboard: Leaderboard, width: int = 120) -> str:
    """Return what a terminal of some width would show, without its colours."""
    out = io.StringIO()
    terminal(leaderboard, Console(file=out, width=width))
    return out.getvalue()


def _table(leaderboard: Leaderboard, section: Section) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    # Models' names stand whole; what tells variants apart is folded under them.
    names = [_name(leaderboard, row, "\n").plain.split("\n")[0] for row in section.rows]
    widest = max((cell_len(name) for name in names), default=0)
    table.add_column("model", overflow="fold", width=max(widest, _TITLE))
    for column in section.columns:
        heading = Text("\n".join(wrap(plain(column.title), _TITLE, break_long_words=False)))
        for line in (wording.heading(column), column.split):
            heading.append(f"\n{plain(line)}", style="dim")
        table.add_column(heading, justify="right", no_wrap=True)
    for group in section.groups:
        if group is not section.groups[0]:
            table.add_section()
        table.add_row(
            Text(wording.group(group).replace(", ", "\n"), style="bold cyan"),
            *(
                Text("\n".join(wording.basis(group, index)), style="cyan")
                for index in range(len(section.columns))
            ),
        )
        for row in group.rows:
            table.add_row(
                _name(leaderboard, row, "\n"),
                *(
                    (_one_line if group.published else _stacked)(leaderboard, group, row, index)
                    for index in range(len(section.columns))
                ),
            )
    return table


def _block(
    leaderboard: Leaderboard, section: Section, index: int, column: Column, console: Console
) -> None:
    heading = (column.title, wording.heading(column), column.split)
    console.print()
    say(console, ", ".join(plain(part) for part in heading), "bold underline")
    for group in section.groups:
        rows = [row for row in group.rows if row.cells[index].state != "absent"]
        if rows:
            said = [wording.group(group), *wording.basis(group, index)]
            say(console, ", ".join(said), "cyan")
            table = _figures(leaderboard, group, rows, index)
            if natural_width(console, table) <= console.width:
                console.print(table)
                continue
            for row in rows:
                console.print(_name(leaderboard, row, "  "))
                score = _value(leaderboard, row.cells[index])
                for part in _below(group, index, row.cells[index]):
                    score.append(f"  {part}", style="dim")
                console.print(Text("  ").append_text(score))


def _figures(leaderboard: Leaderboard, group: Group, rows: list[Row], index: int) -> Table:
    """Set the rows of one task and group in a line each."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    for _ in range(4):
        table.add_column(no_wrap=True)
    for row in rows:
        cell = row.cells[index]
        below = (wording.standing(cell), wording.proteins(group, index, cell))
        table.add_row(
            _name(leaderboard, row, "  "),
            _value(leaderboard, cell),
            Text(_interval(cell), style="dim"),
            Text(" ".join(filter(None, below)), style="dim"),
        )
    return table


def _name(leaderboard: Leaderboard, row: Row, gap: str) -> Text:
    name = Text(plain(row.model))
    name.append(wording.letters(leaderboard, row.remarks).translate(_RAISED), style="cyan")
    if kind := wording.kind(row):
        name.append(f"{gap}{kind}", style="dim")
    return name


def _stacked(leaderboard: Leaderboard, group: Group, row: Row, index: int) -> Text:
    text = _value(leaderboard, row.cells[index])
    for line in _below(group, index, row.cells[index]):
        text.append(f"\n{line}", style="dim")
    return text


def _one_line(leaderboard: Leaderboard, group: Group, row: Row, index: int) -> Text:
    before = "  ".join(_below(group, index, row.cells[index]))
    return Text.assemble((f"{before}  ", "dim"), _value(leaderboard, row.cells[index]))


def _below(group: Group, index: int, cell: Cell) -> Iterator[str]:
    lines = (_interval(cell), wording.standing(cell), wording.proteins(group, index, cell))
    return filter(None, lines)


def _value(leaderboard: Leaderboard, cell: Cell) -> Text:
    style = {"best": "bold green", "second": "underline"}.get(cell.mark or "", "")
    text = Text()
    text.append(wording.value(cell), style="red" if cell.state == "failed" else style)
    text.append(wording.TIED if cell.tied else "")
    text.append(wording.DAGGER if cell.daggers else "", style="cyan")
    text.append(wording.letters(leaderboard, cell.notes).translate(_RAISED), style="cyan")
    return text


def _interval(cell: Cell) -> str:
    return wording.interval(cell).replace(" – ", "–")
