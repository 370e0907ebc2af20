"""The leaderboard in Markdown, for READMEs and pull requests."""

from __future__ import annotations

import re

from tape_bench.report import wording
from tape_bench.report.table import Cell, Leaderboard, Row, Section


def render(leaderboard: Leaderboard) -> str:
    """Write the leaderboard as Markdown tables with footnotes."""
    lines = []
    for section in leaderboard.sections:
        lines += [f"**{escape(section.caption)}**", "", *_table(leaderboard, section), ""]
    lines += [f"> {escape(warning)}\n" for warning in leaderboard.warnings]
    lines += [
        "Best in **bold**, second <ins>underlined</ins>.",
        *wording.LEGEND,
        wording.STANDING,
        "",
    ]
    lines += [
        f"- <sup>{letter}</sup> {escape(text)}" for text, letter in leaderboard.footnotes.items()
    ]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, table cells included."""
    text = wording.plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", text)


def _table(leaderboard: Leaderboard, section: Section) -> list[str]:
    heads = ["model", "protocol", "data"]
    for index, column in enumerate(section.columns):
        parts = (
            f"{escape(column.title)}",
            escape(wording.heading(column)),
            escape(column.split),
            wording.proteins(section, index),
        )
        heads.append("<br>".join(filter(None, parts)))
    rules = ["---"] * 3 + ["---:"] * len(section.columns)
    rows = [
        [
            _name(leaderboard, row),
            escape(row.protocol),
            escape(row.data),
            *(
                _figure(leaderboard, cell, not wording.proteins(section, index))
                for index, cell in enumerate(row.cells)
            ),
        ]
        for row in section.rows
    ]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)]


def _name(leaderboard: Leaderboard, row: Row) -> str:
    name = escape(row.model) + _raised(wording.letters(leaderboard, row.remarks))
    kind = wording.kind(row)
    return f"{name}<br>{escape(kind)}" if kind else name


def _figure(leaderboard: Leaderboard, cell: Cell, with_n: bool) -> str:
    value = wording.value(cell)
    if cell.mark:
        value = f"**{value}**" if cell.mark == "best" else f"<ins>{value}</ins>"
    value += wording.TIED if cell.tied else ""
    value += wording.DAGGER if cell.daggers else ""
    value += _raised(wording.letters(leaderboard, cell.notes))
    n = f"n = {cell.n}" if with_n and cell.n is not None else ""
    return "<br>".join(filter(None, (value, wording.interval(cell), wording.standing(cell), n)))


def _raised(letters: str) -> str:
    return f"<sup>{letters}</sup>" if letters else ""
