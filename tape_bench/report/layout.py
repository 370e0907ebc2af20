"""How text keeps to the width of a terminal without breaking a number."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from tape_bench.report.wording import DASH, plain

_BOUNDLESS = 100_000

_FOLDED = 30
"""Columns that text needs beside numbers; with fewer, a block for each row reads better."""


def console() -> Console:
    """Return standard output, as wide as COLUMNS or the terminal says.

    rich takes a terminal of the kind `dumb` to be 80 columns wide, whatever it is.
    """
    made = Console()
    if not made.is_dumb_terminal:
        return made
    columns, lines = shutil.get_terminal_size()
    return Console(width=columns, height=lines)


def natural_width(console: Console, renderable: RenderableType) -> int:
    """Return the columns something needs for no line of it to be folded."""
    options = console.options.update(width=_BOUNDLESS, max_width=_BOUNDLESS)
    return console.measure(renderable, options=options).maximum


def filled(parts: Sequence[str], width: int, indent: int = 2) -> list[str]:
    """Set parts in lines of a width, two blanks between them; no part is broken at a blank.

    A part that is longer than a line stands alone.
    """
    lines: list[str] = []
    for part in filter(None, parts):
        if lines and cell_len(lines[-1]) + 2 + cell_len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(" " * indent + part)
    return lines


@dataclass(frozen=True)
class Field:
    """One column of a listing."""

    title: str
    number: bool = False
    """Set to the right, under one another."""
    words: bool = False
    """Text that a table may fold, between words."""


def listing(
    console: Console, fields: Sequence[Field], rows: Sequence[Sequence[str]], named: int = 1
) -> None:
    """Print a table, or where it does not fit a block for each row; nothing is broken in either.

    Args:
        console: where to.
        fields: the columns.
        rows: a text for each column; an empty one, or a dash, is left out of a block.
        named: how many columns, from the first, name a row: they head its block.
    """
    table = _table(fields, rows)
    least = _table(fields, rows, fold=_FOLDED)
    if natural_width(console, least) <= console.width:
        console.print(table)
        return
    for row in rows:
        say(console, ", ".join(plain(text) for text in row[:named] if text), "bold")
        parts = [
            f"{field.title} {plain(text)}".strip()
            for field, text in zip(fields[named:], row[named:], strict=True)
            if text not in ("", DASH)
        ]
        for line in filled(parts, console.width):
            say(console, line)


def _table(
    fields: Sequence[Field], rows: Sequence[Sequence[str]], fold: int | None = None
) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for index, field in enumerate(fields):
        longest = max((cell_len(word) for row in rows for word in row[index].split()), default=0)
        table.add_column(
            field.title,
            justify="right" if field.number else "left",
            no_wrap=not field.words,
            max_width=max(fold, longest) if fold and field.words else None,
        )
    for row in rows:
        table.add_row(*(Text(plain(text)) for text in row))
    return table


def say(console: Console, text: str, style: str = "") -> None:
    """Print text as it is, lines folded between words."""
    console.print(Text(text, style=style))
