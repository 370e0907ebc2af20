"""The leaderboard in Markdown, for READMEs and pull requests."""

from __future__ import annotations

import re

from tape_bench.report import wording
from tape_bench.report.leaderboard.table import Cell, Group, Leaderboard, Row, Section


def render(leaderboard: Leaderboard) -> str:
    """Write the leaderboard as Markdown tables with footnotes."""
    lines = []
    for section in leaderboard.sections:
        lines += [f"**{escape(section.caption)}**", "", *_table(leaderboard, section), ""]
    lines += [f"> {escape(warning)}\n" for warning in leaderboard.warnings]
    if wording.marks(leaderboard):
        lines += ["Best of a group in **bold**, second <ins>underlined</ins>.", ""]
    lines += [f"{line}\n" for line in wording.legend(leaderboard)]
    lines += [
        f"- <sup>{letter}</sup> {escape(text)}" for text, letter in leaderboard.footnotes.items()
    ]
    lines += ["", *_remeasured(leaderboard), *_published(leaderboard)]
    return "\n".join(lines).rstrip() + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, table cells included."""
    text = wording.plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#+!|~$])", r"\\\1", text)


def _table(leaderboard: Leaderboard, section: Section) -> list[str]:
    heads = ["model"]
    for column in section.columns:
        parts = (column.title, wording.heading(column), column.split)
        heads.append("<br>".join(escape(part) for part in parts))
    rules = ["---"] + ["---:"] * len(section.columns)
    rows = [line for group in section.groups for line in _group(leaderboard, group)]
    return [f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows)]


def _group(leaderboard: Leaderboard, group: Group) -> list[list[str]]:
    columns = range(len(group.rows[0].cells))
    basis = ["<br>".join(map(escape, wording.basis(group, index))) for index in columns]
    # GitHub draws no borders between rows: the group stands out by its own line.
    head = [f"**{escape(wording.group(group))}**", *(f"*{said}*" if said else "" for said in basis)]
    return [
        head,
        *(
            [
                _name(leaderboard, row),
                *(_figure(leaderboard, group, index, cell) for index, cell in enumerate(row.cells)),
            ]
            for row in group.rows
        ),
    ]


def _name(leaderboard: Leaderboard, row: Row) -> str:
    name = escape(row.model) + _raised(wording.letters(leaderboard, row.remarks))
    kind = wording.kind(row)
    return f"{name}<br>{escape(kind)}" if kind else name


def _figure(leaderboard: Leaderboard, group: Group, index: int, cell: Cell) -> str:
    value = wording.value(cell)
    if cell.mark:
        value = f"**{value}**" if cell.mark == "best" else f"<ins>{value}</ins>"
    value += wording.TIED if cell.tied else ""
    value += wording.DAGGER if cell.daggers else ""
    value += _raised(wording.letters(leaderboard, cell.notes))
    n = wording.proteins(group, index, cell)
    return "<br>".join(filter(None, (value, wording.interval(cell), wording.standing(cell), n)))


def _raised(letters: str) -> str:
    return f"<sup>{letters}</sup>" if letters else ""


def _remeasured(leaderboard: Leaderboard) -> list[str]:
    if not leaderboard.remeasured:
        return []
    head = ["published", "task, split", "score", "ours", "score", "difference", "why"]
    rows = [
        [
            f"{one.published.model} ({one.published.way})",
            f"{one.published.task}, {one.published.split}",
            wording.number(one.published.value, one.published.digits),
            f"{one.model} ({one.way})",
            wording.measured_again(one),
            wording.difference(one),
            one.why,
        ]
        for one in leaderboard.remeasured
    ]
    return ["**Measured here, beside what was published**", "", *_plain(head, rows), ""]


def _published(leaderboard: Leaderboard) -> list[str]:
    lines = []
    head = ["model", "task", "metric", "split", "score", "comparable, or why not", "source"]
    for way, scores in wording.by_protocol(leaderboard):
        rows = [
            [
                *(one.model, one.task, one.metric, one.split),
                wording.number(one.value, one.digits),
                wording.comparable(one),
                one.source,
            ]
            for one in scores
        ]
        lines += [f"**All published scores: {escape(way)}**", "", *_plain(head, rows), ""]
    return lines


def _plain(head: list[str], rows: list[list[str]]) -> list[str]:
    rules = ["---"] * len(head)
    lines = (head, rules, *([escape(cell) for cell in row] for row in rows))
    return [f"| {' | '.join(cells)} |" for cells in lines]
