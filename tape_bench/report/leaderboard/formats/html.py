"""The leaderboard as one self-contained HTML page: sortable, filterable, readable offline.

What it looks like stands in the templates beside this file. Every value that a template shows is
escaped, and spelt out where it is unprintable, without the template having to ask for it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tape_bench import registry
from tape_bench.report import wording
from tape_bench.report.leaderboard import citations
from tape_bench.report.leaderboard.table import Leaderboard

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Picture:
    """A picture in two shapes, each an SVG file's content."""

    caption: str
    wide: bytes
    narrow: bytes
    """For a phone: its panels stand under one another, so that letters keep their size."""


def render(leaderboard: Leaderboard, pictures: Sequence[Picture] = ()) -> str:
    """Write the page, with pictures below the tables."""
    rows = [row for section in leaderboard.sections for row in section.rows]
    keys = leaderboard.citations
    page = _templates().get_template("page.html")
    return page.render(
        board=leaderboard,
        tasks={c.task: c.title for section in leaderboard.sections for c in section.columns},
        protocols=sorted({row.protocol for row in rows}),
        statuses=sorted({status for row in rows for status in row.statuses}),
        pictures=pictures,
        bibtex=citations.bibtex(keys, registry.citations()) if keys else "",
        css=(_HERE / "page.css").read_text(encoding="utf-8"),
        js=(_HERE / "page.js").read_text(encoding="utf-8"),
    )


def notebook(leaderboard: Leaderboard) -> str:
    """Write the tables and their notes as a piece of HTML to stand below a notebook's cell."""
    return _templates().get_template("notebook.html").render(board=leaderboard)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        finalize=_plain,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.globals["wording"] = wording
    templates.filters["data_uri"] = _data_uri
    return templates


def _plain(value: Any) -> Any:
    """Spell out what a template is about to show; markup of its own stays as it is."""
    return (
        value if hasattr(value, "__html__") or not isinstance(value, str) else wording.plain(value)
    )


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg).decode()}"
