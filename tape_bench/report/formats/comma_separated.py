"""The leaderboard as CSV: one line for each figure, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io

from tape_bench.report import wording
from tape_bench.report.table import Leaderboard

HEADER = (
    "model", "variant", "protocol", "data", "control", "published",
    "task", "metric", "split", "state", "value", "low", "high", "n",
    "rank", "ranked", "tied", "gain", "gain_over", "comparable", "notes",
)  # fmt: skip


def render(leaderboard: Leaderboard) -> str:
    """Write one line a figure; an empty field is an unknown value."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for section in leaderboard.sections:
        for row in section.rows:
            for column, cell in zip(section.columns, row.cells, strict=True):
                if cell.state == "absent":
                    continue
                writer.writerow(
                    [
                        harmless(row.model),
                        harmless(row.variant),
                        harmless(row.protocol),
                        row.data,
                        row.control,
                        row.published,
                        harmless(column.task),
                        harmless(column.metric),
                        harmless(column.split),
                        cell.state,
                        cell.value,
                        cell.low,
                        cell.high,
                        cell.n,
                        cell.rank,
                        cell.ranked or None,
                        cell.tied,
                        cell.gain,
                        harmless(cell.gain_over or ""),
                        not cell.daggers,
                        harmless("; ".join(row.remarks + cell.notes)),
                    ]
                )
    return out.getvalue()


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    text = wording.plain(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
