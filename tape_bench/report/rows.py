"""Runs and published tables become rows of the table, each figure with its doubts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tape_bench.cards import BaselineTable, Measurement
from tape_bench.report import runs
from tape_bench.report.table import Cell, Column, Row
from tape_bench.results import store
from tape_bench.results.record import MetricRecord, RunRecord

OFFICIAL = "official"
"""The pool of TAPE's own records, which comparable published figures join."""


def ours(records: Sequence[RunRecord], columns: Sequence[Column]) -> list[Row]:
    """Put runs of the same model and protocol in one row, different runs in different rows."""
    grouped = runs.grouped(records)
    return [
        _row(group, variant, columns)
        for group, variant in zip(grouped, runs.variants(grouped), strict=True)
    ]


def published(tables: Sequence[BaselineTable], columns: Sequence[Column]) -> list[Row]:
    """Turn published figures into rows; tables without a figure for these columns give none."""
    return [
        Row(
            model=row.model,
            variant="",
            protocol=", ".join(
                dict.fromkeys(
                    table.measured[c.task].protocol for c in columns if c.task in row.figures
                )
            ),
            data="published",
            cells=tuple(
                _published_cell(row.figures[column.task], table.measured[column.task], column)
                if column.task in row.figures
                else Cell()
                for column in columns
            ),
            published=True,
            citation=table.citation,
            remarks=(row.note,) if row.note else (),
        )
        for table in tables
        for row in table.rows
        if any(column.task in row.figures for column in columns)
    ]


def _published_cell(value: float, measured: Measurement, column: Column) -> Cell:
    daggers = []
    if not measured.comparable:
        daggers.append(measured.reason)
    elif measured.metric != column.metric:
        daggers.append(f"published as {measured.metric}, this column is {column.metric}")
    elif measured.split != column.split:
        daggers.append(f"published for {measured.split}, this column is {column.split}")
    return Cell(
        state="scored",
        value=value,
        digits=2,
        daggers=tuple(daggers),
        remarks=(measured.reason,) if measured.comparable and measured.reason else (),
        pool=None if daggers else OFFICIAL,
    )


def _row(run: runs.Run, variant: str, columns: Sequence[Column]) -> Row:
    any_record = next(iter(run.values()))
    return Row(
        model=any_record.model.name,
        variant=variant,
        protocol=any_record.protocol.id,
        data=" / ".join(sorted({record.task.data.status for record in run.values()})),
        cells=tuple(_cell(run[c.task], c) if c.task in run else Cell() for c in columns),
        control=any_record.model.control,
    )


def _cell(record: RunRecord, column: Column) -> Cell:
    if record.status == "failed":
        return Cell("failed", remarks=(f"failed: {_first_line(record.error)}",))
    if record.status == "started":
        return Cell("unfinished", remarks=("the run was interrupted or is still under way",))
    metric = record.metric(column.metric, column.split)
    if metric is None:
        missing = f"the record has no {column.metric} on {column.split}"
        return Cell("undefined", remarks=(missing,))
    daggers, rankable = _doubts(record, column)
    if metric.value is None:
        reason = f"undefined: {metric.undefined or 'no reason recorded'}"
        return Cell("undefined", n=metric.n, daggers=daggers, remarks=(reason,))
    data = record.task.data
    same_data = OFFICIAL if data.status == "official" else data.digest
    limit = "" if record.limit is None else f", first {record.limit}"
    return Cell(
        state="scored",
        value=metric.value,
        low=metric.interval.low if metric.interval else None,
        high=metric.interval.high if metric.interval else None,
        n=metric.n,
        daggers=daggers,
        remarks=_left_out(record, metric),
        pool=f"{same_data}{limit}" if rankable else None,
    )


def _doubts(record: RunRecord, column: Column) -> tuple[tuple[str, ...], bool]:
    """Say why a figure is no TAPE score, and whether it may still be ranked among its like."""
    data = record.task.data
    reasons = []
    if data.status in ("partial", "other"):
        reasons.append(f"not a TAPE score, the data is {data.status}: {data.reason}")
    if record.limit is not None:
        reasons.append(f"only the first {record.limit} records of each split were used")
    rankable = True
    if column.version is not None and record.task.version != column.version:
        reasons.append(
            f"scored under version {record.task.version} of the task's card, "
            f"which is now at version {column.version}"
        )
        rankable = False
    if record.digest != store.digest(record):
        reasons.append("the record was changed after it was written: its digest does not match")
        rankable = False
    return tuple(reasons), rankable


def _left_out(record: RunRecord, metric: MetricRecord) -> tuple[str, ...]:
    """Say which proteins of the split the figure does not rest on."""
    split = record.task.data.splits.get(metric.split)
    counts = Counter(split.n_skipped if split else {}) + Counter(metric.n_left_out)
    return tuple(f"{count} proteins left out: {reason}" for reason, count in counts.items())


def _first_line(error: str | None) -> str:
    return (error or "no reason recorded").strip().splitlines()[0]
