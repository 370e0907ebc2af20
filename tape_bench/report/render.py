"""The leaderboard on a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tape_bench.report import wording
from tape_bench.report.table import Cell, Leaderboard, Row, Section
from tape_bench.report.wording import plain

_RAISED = str.maketrans("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")


_NARROW = 96
"""Columns a terminal needs to show five tasks with their intervals."""


def terminal(leaderboard: Leaderboard, console: Console) -> None:
    """Print the leaderboard; names go through as plain text, so that none can steer a terminal."""
    narrow = console.width < _NARROW
    for section in leaderboard.sections:
        console.print(_table(leaderboard, section, narrow))
    if narrow:
        console.print(Text(f"{_NARROW} columns or more show the intervals, too.", style="dim"))
    for warning in leaderboard.warnings:
        console.print(Text(f"note: {plain(warning)}", style="yellow"))
    for line in (*wording.LEGEND, wording.STANDING):
        console.print(Text(line, style="dim"))
    for text, letter in leaderboard.footnotes.items():
        console.print(Text(f"{letter}  {plain(text)}", style="dim"))


def _table(leaderboard: Leaderboard, section: Section, narrow: bool) -> Table:
    table = Table(
        title=Text(section.caption, style="bold yellow" if section.simulated else "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    longest = max((len(plain(row.model)) + 2 for row in section.rows), default=0)
    table.add_column("model", width=min(max(longest, 11), 18), overflow="fold")
    table.add_column(Text.assemble("protocol", ("\ndata", "dim")), no_wrap=True)
    common = [wording.proteins(section, index) for index in range(len(section.columns))]
    for column, n in zip(section.columns, common, strict=True):
        heading = Text(plain(column.title))
        for line in filter(None, (wording.heading(column), column.split, n)):
            heading.append(f"\n{plain(line)}", style="dim")
        table.add_column(heading, justify="right", overflow="fold")
    before: Row | None = None
    for row in section.rows:
        if before and (before.published, before.control) != (row.published, row.control):
            table.add_section()
        if row.published and not (before and before.published):
            table.add_row(Text("published:", style="dim"))
        before = row
        table.add_row(
            _name(leaderboard, row),
            _protocol(row),
            *(
                _figure(leaderboard, row, cell, "" if n else f"n = {cell.n}", narrow)
                for cell, n in zip(row.cells, common, strict=True)
            ),
        )
    return table


def _protocol(row: Row) -> Text:
    text = Text(plain(row.protocol))
    if not row.published:
        text.append(f"\n{plain(row.data)}".replace(" / ", "\n"), style="dim")
    return text


def _name(leaderboard: Leaderboard, row: Row) -> Text:
    name = Text(plain(row.model))
    name.append(wording.letters(leaderboard, row.remarks).translate(_RAISED), style="cyan")
    if kind := wording.kind(row):
        name.append(f"\n{kind}", style="dim")
    return name


def _figure(leaderboard: Leaderboard, row: Row, cell: Cell, n: str, narrow: bool) -> Text:
    style = {"best": "bold green", "second": "underline"}.get(cell.mark or "", "")
    text = Text()
    text.append(wording.value(cell), style="red" if cell.state == "failed" else style)
    text.append(wording.TIED if cell.tied else "")
    text.append(wording.DAGGER if cell.daggers else "", style="cyan")
    text.append(wording.letters(leaderboard, cell.notes).translate(_RAISED), style="cyan")
    # Published rows stay one line high: their ranks stand in the other formats.
    if not row.published and cell.n is not None:
        interval = "" if narrow else wording.interval(cell).replace(" – ", "–")
        for line in filter(None, (interval, wording.standing(cell), n)):
            text.append(f"\n{line}", style="dim")
    return text
