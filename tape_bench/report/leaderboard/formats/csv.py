"""The leaderboard as CSV: one line for each score, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from tape_bench.report import wording
from tape_bench.report.leaderboard.table import Cell, Column, Leaderboard, Row

HEADER = (
    "model", "variant", "protocol", "control", "published",
    "task", "metric", "split", "data", "data_digest", "limit",
    "state", "value", "low", "high", "n", "seeds",
    "rank", "ranked", "tied", "gain", "gain_over", "comparable", "notes",
    "run_key", "record", "source",
)  # fmt: skip


def render(leaderboard: Leaderboard) -> str:
    """Write one line a score; an empty field is an unknown value.

    `data` is the status of the data behind this one score, `metric` and `split` are those it
    was really measured by. `seeds` are parted by blanks. A score of ours has its run key and
    record; a published one the place where it stands, `source`.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for line in lines(leaderboard):
        writer.writerow([harmless(one) if isinstance(one, str) else one for one in line])
    return out.getvalue()


def lines(leaderboard: Leaderboard) -> Iterator[list[object]]:
    """Yield the values of each line, in the order of the header."""
    for section in leaderboard.sections:
        for row in section.rows:
            for column, cell in zip(section.columns, row.cells, strict=True):
                if cell.state != "absent":
                    yield _line(row, column, cell)


def _line(row: Row, column: Column, cell: Cell) -> list[object]:
    return [
        row.model,
        row.variant,
        row.protocol,
        row.control,
        row.published,
        column.task,
        cell.metric or column.metric,
        cell.split or column.split,
        cell.data,
        cell.data_digest,
        cell.limit,
        cell.state,
        cell.value,
        cell.low,
        cell.high,
        cell.n,
        " ".join(str(seed) for seed in cell.seeds),
        cell.rank,
        cell.ranked or None,
        cell.tied,
        cell.gain,
        cell.gain_over or "",
        not cell.daggers,
        "; ".join(row.remarks + cell.notes),
        cell.run_key,
        cell.record,
        row.source,
    ]


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    text = wording.plain(text)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
