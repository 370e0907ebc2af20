"""The leaderboard as one self-contained HTML page: sortable, filterable, readable offline."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape as escape_html
from pathlib import Path

from tape_bench import registry
from tape_bench.report import citations, wording
from tape_bench.report.table import Cell, Leaderboard, Row, Section

_HERE = Path(__file__).parent


def render(leaderboard: Leaderboard, figures: Sequence[tuple[str, bytes]] = ()) -> str:
    """Write the page.

    Args:
        leaderboard: what to show.
        figures: pictures to stand below the tables, each a caption and an SVG file's content.
    """
    columns = {c.task: c.title for section in leaderboard.sections for c in section.columns}
    rows = [row for section in leaderboard.sections for row in section.rows]
    parts = [
        "<header><h1>Protein language models on the TAPE tasks</h1></header>",
        "<main>",
        _filters(columns, rows),
        *(_section(leaderboard, section, n) for n, section in enumerate(leaderboard.sections)),
        _notes(leaderboard),
        *(_picture(caption, svg) for caption, svg in figures),
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
        + _select("data", "Data", sorted({row.data for row in rows}))
        + '<p role="status" id="shown"></p></form>'
    )


def _select(name: str, label: str, values: Sequence[str]) -> str:
    options = "".join(f"<option>{escape(value)}</option>" for value in values)
    choice = f'<select name="{name}"><option value="">all</option>{options}</select>'
    return f"<label>{label} {choice}</label>"


def _section(leaderboard: Leaderboard, section: Section, number: int) -> str:
    heads = [_head(name, "", name) for name in ("model", "protocol", "data")]
    for index, column in enumerate(section.columns):
        below = (wording.heading(column), column.split, wording.proteins(section, index))
        detail = "".join(f"<small>{escape(line)}</small>" for line in below if line)
        heads.append(_head(column.title, detail, column.task, figure=True))
    body = "\n".join(_row(leaderboard, section, row) for row in section.rows)
    mark = ' class="simulated"' if section.simulated else ""
    return (
        f'<section{mark}><h2 id="table-{number}">{escape(section.caption)}</h2>\n'
        f'<div class="scroll" role="region" aria-labelledby="table-{number}" tabindex="0">\n'
        f"<table>\n<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        "</div></section>"
    )


def _head(title: str, detail: str, key: str, figure: bool = False) -> str:
    task = f' data-task="{escape(key)}" class="figure"' if figure else ""
    return f'<th scope="col"{task}><button type="button">{escape(title)}</button>{detail}</th>'


def _row(leaderboard: Leaderboard, section: Section, row: Row) -> str:
    kind = "published" if row.published else "control" if row.control else "model"
    below = wording.kind(row)
    name = escape(row.model) + _raised(leaderboard, row.remarks)
    cells = [
        f'<th scope="row">{name}{f"<small>{escape(below)}</small>" if below else ""}</th>',
        f"<td>{escape(row.protocol)}</td>",
        f"<td>{escape(row.data)}</td>",
        *(
            _figure(leaderboard, cell, column.task, not wording.proteins(section, index))
            for index, (column, cell) in enumerate(zip(section.columns, row.cells, strict=True))
        ),
    ]
    return (
        f'<tr class="{kind}" data-protocol="{escape(row.protocol)}" data-data="{escape(row.data)}">'
        f"{''.join(cells)}</tr>"
    )


def _figure(leaderboard: Leaderboard, cell: Cell, task: str, with_n: bool) -> str:
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
    n = f"n = {cell.n}" if with_n and cell.n is not None else ""
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
    legend = "".join(f"<p>{escape(line)}</p>" for line in (*wording.LEGEND, wording.STANDING))
    notes = "".join(
        f'<li id="note-{letter}"><sup>{letter}</sup> {escape(text)}</li>'
        for text, letter in leaderboard.footnotes.items()
    )
    return f'<section class="notes"><h2>Notes</h2>{warnings}{legend}<ul>{notes}</ul></section>'


def _picture(caption: str, svg: bytes) -> str:
    source = f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
    text = escape(caption)
    return f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _citations(leaderboard: Leaderboard) -> str:
    if not leaderboard.citations:
        return ""
    entries = citations.bibtex(leaderboard.citations, registry.citations())
    return (
        "<details><summary>BibTeX of the data sets and baselines</summary>"
        f"<pre>{escape_html(entries)}</pre></details>"
    )
