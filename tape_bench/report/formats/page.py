"""The leaderboard as one self-contained HTML page: sortable, filterable, readable offline."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escape_html
from pathlib import Path

from tape_bench import registry
from tape_bench.report import citations, wording
from tape_bench.report.table import Cell, Group, Leaderboard, Row, Section

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """A picture in two shapes, each an SVG file's content."""

    caption: str
    wide: bytes
    narrow: bytes
    """For a phone: its panels stand under one another, so that letters keep their size."""


def render(leaderboard: Leaderboard, figures: Sequence[Picture] = ()) -> str:
    """Write the page, with pictures below the tables."""
    columns = {c.task: c.title for section in leaderboard.sections for c in section.columns}
    rows = [row for section in leaderboard.sections for row in section.rows]
    parts = [
        "<header><h1>Protein language models on the TAPE tasks</h1></header>",
        "<main>",
        _filters(columns, rows),
        *(_section(leaderboard, section, n) for n, section in enumerate(leaderboard.sections)),
        _notes(leaderboard),
        *(_picture(figure) for figure in figures),
        _citations(leaderboard),
        "</main>",
    ]
    return _PAGE.format(
        css=(_HERE / "page.css").read_text(encoding="utf-8"),
        js=(_HERE / "page.js").read_text(encoding="utf-8"),
        body="\n".join(filter(None, parts)),
    )


def escape(text: str) -> str:
    """Return text that HTML shows as it is, in elements and in attributes."""
    return escape_html(wording.plain(text))


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<title>TAPE leaderboard</title>
<style>
{css}</style>
</head>
<body>
{body}
<script>
{js}</script>
</body>
</html>
"""


def _filters(columns: dict[str, str], rows: Sequence[Row]) -> str:
    tasks = "".join(
        f'<label><input type="checkbox" name="task" value="{escape(task)}" checked> '
        f"{escape(title)}</label>"
        for task, title in columns.items()
    )
    return (
        '<form class="filters" aria-label="Filter">'
        f"<fieldset><legend>Tasks</legend>{tasks}</fieldset>"
        + _select("protocol", "Protocol", sorted({row.protocol for row in rows}))
        + _select("data", "Data", sorted({one for row in rows for one in row.statuses}))
        + '<p role="status" id="shown"></p></form>'
    )


def _select(name: str, label: str, values: Sequence[str]) -> str:
    options = "".join(f"<option>{escape(value)}</option>" for value in values)
    choice = f'<select name="{name}"><option value="">all</option>{options}</select>'
    return f"<label>{label} {choice}</label>"


def _section(leaderboard: Leaderboard, section: Section, number: int) -> str:
    heads = [_head("model", "", "")]
    for column in section.columns:
        below = (wording.heading(column), column.split)
        detail = "".join(f"<small>{escape(line)}</small>" for line in below)
        heads.append(_head(column.title, detail, column.task))
    bodies = "\n".join(_group(leaderboard, section, group) for group in section.groups)
    mark = ' class="simulated"' if section.simulated else ""
    return (
        f'<section{mark}><h2 id="table-{number}">{escape(section.caption)}</h2>\n'
        f'<div class="scroll" role="region" aria-labelledby="table-{number}" tabindex="0">\n'
        f"<table>\n<thead><tr>{''.join(heads)}</tr></thead>\n{bodies}\n</table></div></section>"
    )


def _head(title: str, detail: str, task: str) -> str:
    kind = f' data-task="{escape(task)}" class="figure"' if task else ""
    return f'<th scope="col"{kind}><button type="button">{escape(title)}</button>{detail}</th>'


def _group(leaderboard: Leaderboard, section: Section, group: Group) -> str:
    basis = []
    for index, column in enumerate(section.columns):
        lines = "".join(f"<span>{escape(line)}</span>" for line in wording.basis(group, index))
        basis.append(f'<td class="figure" data-task="{escape(column.task)}">{lines}</td>')
    name = f'<span class="name">{escape(wording.group(group))}</span>'
    head = f'<th scope="rowgroup">{name}</th>'
    rows = "\n".join(_row(leaderboard, section, group, row) for row in group.rows)
    return f'<tbody>\n<tr class="group">{head}{"".join(basis)}</tr>\n{rows}\n</tbody>'


def _row(leaderboard: Leaderboard, section: Section, group: Group, row: Row) -> str:
    kind = "published" if row.published else "control" if row.control else "model"
    below = wording.kind(row)
    name = escape(row.model) + _raised(leaderboard, row.remarks)
    detail = f"<small>{escape(below)}</small>" if below else ""
    cells = [
        f'<th scope="row"><span class="name">{name}{detail}</span></th>',
        *(
            _figure(leaderboard, cell, column.task, wording.proteins(group, index, cell))
            for index, (column, cell) in enumerate(zip(section.columns, row.cells, strict=True))
        ),
    ]
    # One attribute for several values: none of them holds a line break.
    data = "&#10;".join(escape(status) for status in row.statuses)
    return (
        f'<tr class="{kind}" data-protocol="{escape(row.protocol)}" data-data="{data}">'
        f"{''.join(cells)}</tr>"
    )


def _figure(leaderboard: Leaderboard, cell: Cell, task: str, n: str) -> str:
    classes = " ".join(filter(None, ("figure", cell.mark, cell.state)))
    value = f"<b>{escape(wording.value(cell))}</b>"
    if cell.mark:
        value += f'<span class="unseen"> ({cell.mark})</span>'
    if cell.tied:
        value += (
            f'<abbr title="tied: its interval overlaps the best figure\'s">{wording.TIED}</abbr>'
        )
    if cell.daggers:
        value += f'<abbr title="{escape("; ".join(cell.daggers))}">{wording.DAGGER}</abbr>'
    value += _raised(leaderboard, cell.notes)
    below = [wording.interval(cell), wording.standing(cell), n]
    details = "".join(f"<small>{escape(line)}</small>" for line in below if line)
    number = "" if cell.value is None else repr(cell.value)
    data = f'data-task="{escape(task)}" data-value="{number}"'
    return f'<td class="{classes}" {data}>{value}{details}</td>'


def _raised(leaderboard: Leaderboard, notes: tuple[str, ...]) -> str:
    letters = sorted({leaderboard.footnotes[note] for note in notes})
    links = ",".join(f'<a href="#note-{letter}">{letter}</a>' for letter in letters)
    return f"<sup>{links}</sup>" if links else ""


def _notes(leaderboard: Leaderboard) -> str:
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in leaderboard.warnings)
    legend = "".join(f"<p>{escape(line)}</p>" for line in wording.legend(leaderboard))
    notes = "".join(
        f'<li id="note-{letter}"><sup>{letter}</sup> {escape(text)}</li>'
        for text, letter in leaderboard.footnotes.items()
    )
    return f'<section class="notes"><h2>Notes</h2>{warnings}{legend}<ul>{notes}</ul></section>'


def _picture(picture: Picture) -> str:
    text = escape(picture.caption)
    return (
        f'<figure><picture><source media="(max-width: 40rem)" srcset="{_source(picture.narrow)}">'
        f'<img src="{_source(picture.wide)}" alt="{text}"></picture>'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _source(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"


def _citations(leaderboard: Leaderboard) -> str:
    if not leaderboard.citations:
        return ""
    entries = citations.bibtex(leaderboard.citations, registry.citations())
    return (
        "<details><summary>BibTeX of the data sets and baselines</summary>"
        f"<pre>{escape_html(entries)}</pre></details>"
    )
