"""The leaderboard as text: each format is a module with `render(leaderboard) -> str`."""

from __future__ import annotations

import importlib
from pathlib import Path

from tape_bench.report.leaderboard.table import Leaderboard

FORMATS = {
    "markdown": "tape_bench.report.leaderboard.formats.markdown",
    "csv": "tape_bench.report.leaderboard.formats.csv",
    "latex": "tape_bench.report.leaderboard.formats.latex",
    "json": "tape_bench.report.leaderboard.formats.json",
    "html": "tape_bench.report.leaderboard.formats.html",
}

SUFFIXES = {".md": "markdown", ".csv": "csv", ".tex": "latex", ".json": "json", ".html": "html"}


def render(leaderboard: Leaderboard, format: str) -> str:
    """Write a leaderboard in one of the formats."""
    text: str = importlib.import_module(FORMATS[format]).render(leaderboard)
    return text


def of_file(path: Path) -> str | None:
    """Return the format a file's name asks for, or None."""
    return SUFFIXES.get(path.suffix.lower())
