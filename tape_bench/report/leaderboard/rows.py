"""Runs and published tables become rows of the table, each score with its doubts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tape_bench.cards import BaselineTable, Measurement
from tape_bench.report import grouping
from tape_bench.report.leaderboard.table import Cell, Column, Row
from tape_bench.results import store
from tape_bench.results.record import MetricRecord, RunRecord

OFFICIAL = "official"
"""TAPE's own records: the data that comparable published scores were measured on."""

PUBLISHED = "published"
"""Data status of other people's scores: nobody can check their digest."""


def ours(
    records: Sequence[RunRecord], columns: Sequence[Column], files: Mapping[str, str]
) -> list[Row]:
    """Put runs of the same model and protocol in one row, different runs in different rows.

    Args:
        records: newest first.
        columns: the tasks shown.
        files: digest of a record -> the file it stands in.
    """
    grouped = grouping.grouped(records)
    newest: dict[str, str] = {}
    for record in records:
        version = record.protocol.version
        newest[record.protocol.id] = max(newest.get(record.protocol.id, ""), version, key=_order)
    return [
        _row(group, variant, columns, newest, files)
        for group, variant in zip(grouped, grouping.variants(grouped), strict=True)
    ]


def published(tables: Sequence[BaselineTable], columns: Sequence[Column]) -> list[Row]:
    """Turn published scores into rows; tables that do not stand beside ours give none."""
    return [
        Row(
            model=row.model,
            variant="",
            protocol=", ".join(
                dict.fromkeys(
                    table.measurement(row, c.task).way for c in columns if c.task in row.scores
                )
            ),
            cells=tuple(
                _published_cell(
                    row.scores[column.task], table.measurement(row, column.task), column
                )
                if column.task in row.scores
                else Cell()
                for column in columns
            ),
            published=True,
            citation=table.citation,
            source=table.source,
            remarks=(row.note,) if row.note else (),
        )
        for table in tables
        if table.beside
        for row in table.rows
        if any(column.task in row.scores for column in columns)
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
        digits=measured.decimals,
        daggers=tuple(daggers),
        remarks=(measured.reason,) if measured.comparable and measured.reason else (),
        data=PUBLISHED,
        metric=measured.metric if measured.metric != column.metric else None,
        split=measured.split if measured.split != column.split else None,
        pool=None if daggers else _pool(measured.way, f"{OFFICIAL}, all"),
    )


def _row(
    run: grouping.Run,
    variant: str,
    columns: Sequence[Column],
    newest: Mapping[str, str],
    files: Mapping[str, str],
) -> Row:
    first = next(iter(run.values()))
    protocol, version = first.protocol.id, first.protocol.version
    if version != newest[protocol]:
        protocol = f"{protocol} version {version}"
    return Row(
        model=first.model.name,
        variant=variant,
        protocol=protocol,
        cells=tuple(
            _cell(run[c.task], c, protocol, files.get(run[c.task].digest or "", ""))
            if c.task in run
            else Cell()
            for c in columns
        ),
        control=first.model.control,
    )


def _cell(record: RunRecord, column: Column, protocol: str, file: str) -> Cell:
    data = record.task.data
    cell = Cell(
        data=data.status,
        data_digest=data.digest,
        limit=record.limit,
        seeds=tuple(record.protocol.seeds),
        run_key=record.run_key,
        record=file,
    )
    if record.status == "failed":
        why = f"failed: {_first_line(record.error)}"
        return replace(cell, state="failed", remarks=(why,))
    if record.status == "started":
        why = "the run was interrupted or is still under way"
        return replace(cell, state="unfinished", remarks=(why,))
    metric = record.metric(column.metric, column.split)
    if metric is None:
        missing = f"the record has no {column.metric} on {column.split}"
        return replace(cell, state="undefined", remarks=(missing,))
    daggers, rankable = _doubts(record, column)
    cell = replace(cell, n=metric.n, daggers=daggers)
    if metric.value is None:
        reason = f"undefined: {metric.undefined or 'no reason recorded'}"
        return replace(cell, state="undefined", remarks=(reason,))
    same_data = OFFICIAL if data.status == "official" else data.digest
    return replace(
        cell,
        state="scored",
        value=metric.value,
        low=metric.interval.low if metric.interval else None,
        high=metric.interval.high if metric.interval else None,
        remarks=_left_out(record, metric),
        pool=_pool(protocol, f"{same_data}, {record.limit or 'all'}") if rankable else None,
    )


def _pool(protocol: str, data: str) -> str:
    return f"{protocol} on {data}"


def _order(version: str) -> tuple[int, str]:
    # Versions are whole numbers: "10" comes after "9".
    return len(version), version


def _doubts(record: RunRecord, column: Column) -> tuple[tuple[str, ...], bool]:
    """Say why a score is no TAPE score, and whether it may still be ranked among its like."""
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
    """Say which proteins of the split the score does not rest on."""
    split = record.task.data.splits.get(metric.split)
    counts = Counter(split.n_skipped if split else {}) + Counter(metric.n_left_out)
    return tuple(f"{count} proteins left out: {reason}" for reason, count in counts.items())


def _first_line(error: str | None) -> str:
    return (error or "no reason recorded").strip().splitlines()[0]
