"""Every published score under its protocol, and beside ours where the same model was run here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tape_bench.cards import BaselineRow, BaselineTable
from tape_bench.report.leaderboard.table import Column, PublishedScore, Remeasured
from tape_bench.results.record import RunRecord


def listed(
    tables: Sequence[BaselineTable], columns: Sequence[Column]
) -> tuple[PublishedScore, ...]:
    """Return the scores of the tasks shown, ordered by protocol, task, split and metric."""
    order = {column.task: place for place, column in enumerate(columns)}
    found = [score for _, _, score in _scores(tables) if score.task in order]
    # Rows of one cell keep the order of their tables.
    return tuple(sorted(found, key=lambda one: (one.way, order[one.task], one.split, one.metric)))


def remeasured(
    tables: Sequence[BaselineTable], records: Sequence[RunRecord]
) -> tuple[Remeasured, ...]:
    """Set each published score beside our runs of the same model, metric and split."""
    found = []
    for row, key, score in _scores(tables):
        for record in records:
            if (record.model.name, record.task.id) != (row.ours, score.task):
                continue
            # A published metric that we do not have is set beside our headline.
            id = record.task.primary if key == record.task.id else score.metric
            metric = record.metric(id, score.split)
            if metric is None or metric.value is None:
                continue
            interval, head = metric.interval, record.protocol.resolved.get("head")
            way = (record.protocol.id, head and f"head {head}", f"{record.task.data.status} data")
            found.append(
                Remeasured(
                    score,
                    record.model.name,
                    ", ".join(filter(None, way)),
                    metric.value,
                    interval.low if interval else None,
                    interval.high if interval else None,
                    row.differs.get(key, "not explained"),
                )
            )
    return tuple(found)


def _scores(
    tables: Sequence[BaselineTable],
) -> Iterator[tuple[BaselineRow, str, PublishedScore]]:
    for table in tables:
        for row in table.rows:
            for key, value in row.scores.items():
                how = table.measurement(row, key)
                where = filter(None, (table.source, how.lines, row.lines))
                yield (
                    row,
                    key,
                    PublishedScore(
                        how.way,
                        row.model,
                        how.task or key,
                        how.metric,
                        how.split,
                        value,
                        how.decimals,
                        how.comparable,
                        how.reason,
                        "; ".join(where),
                    ),
                )
