"""Records, leaderboards, comparisons and verdicts as pandas data frames: one row a figure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tape_bench.report import compare, gather
from tape_bench.report.formats import comma_separated
from tape_bench.report.gate import Finding
from tape_bench.report.table import Leaderboard
from tape_bench.results.record import MetricRecord

if TYPE_CHECKING:
    from pandas import DataFrame

RECORDS = {
    "model": "name of the model",
    "revision": "version of its weights",
    "task": "name of the task",
    "metric": "id of the metric, which fixes what is computed",
    "label": "what readers call it",
    "split": "split it was computed on",
    "headline": "whether it is the figure that stands in tables",
    "value": "the figure, the mean over seeds; none where it is undefined",
    "low": "lower end of its interval",
    "high": "upper end of its interval",
    "n": "proteins it rests on",
    "n_clusters": "clusters of proteins that its interval rests on",
    "higher_is_better": "which way is up",
    "data": "status of the data: official, partial, other or simulated",
    "data_digest": "SHA-256 over the data",
    "limit": "records used of each split, where not all were",
    "protocol": "id of the protocol",
    "version": "version of the protocol",
    "head": "the head that was fitted, where there was one",
    "seeds": "parted by blanks",
    "status": "complete, failed or started",
    "run_key": "SHA-256 over everything that can change the figures",
    "record": "the file the record stands in",
}
"""Columns of `Records.to_frame()`; what the leaderboard shares with it has the same name there."""

COMPARISON = (
    "task", "metric", "label", "split", "model_a", "model_b", "a", "b", "difference",
    "low", "high", "p", "p_holm", "n", "higher_is_better", "doubts", "in_words",
)  # fmt: skip
"""Columns of `Comparison.to_frame()`: the fields of `Change`, and what they come to."""

VERDICT = (
    "task", "model", "metric", "split", "outcome", "why", "reference", "new", "difference",
    "low", "high", "tolerance",
)  # fmt: skip
"""Columns of `Verdict.to_frame()`."""

_WHOLE = {"n", "n_clusters", "limit", "rank", "ranked"}
_NUMBERS = {
    "value", "low", "high", "gain", "a", "b", "difference", "p", "p_holm",
    "reference", "new", "tolerance",
}  # fmt: skip


def of_records(filed: Iterable[gather.Filed]) -> DataFrame:
    """Return one row for each metric of each record; one without metrics has a row all the same."""
    rows = [_figure(one, metric) for one in filed for metric in (one.record.metrics or (None,))]
    return _frame(rows, tuple(RECORDS))


def of_leaderboard(leaderboard: Leaderboard) -> DataFrame:
    """Return one row for each figure of a leaderboard."""
    rows = [
        dict(zip(comma_separated.HEADER, line, strict=True))
        for line in comma_separated.lines(leaderboard)
    ]
    return _frame(rows, comma_separated.HEADER)


def of_changes(changes: Iterable[compare.Change]) -> DataFrame:
    """Return one row for each figure compared."""
    rows = [
        {name: getattr(change, name, None) for name in COMPARISON}
        | {"doubts": "; ".join(change.doubts), "in_words": compare.in_words(change)}
        for change in changes
    ]
    return _frame(rows, COMPARISON)


def of_findings(findings: Iterable[Finding]) -> DataFrame:
    """Return one row for each figure checked."""
    return _frame([_finding(finding) for finding in findings], VERDICT)


def _figure(filed: gather.Filed, metric: MetricRecord | None) -> dict[str, object]:
    record = filed.record
    task, protocol = record.task, record.protocol
    interval = metric.interval if metric else None
    return {
        "model": record.model.name,
        "revision": record.model.revision,
        "task": task.id,
        "metric": metric and metric.id,
        "label": metric and metric.label,
        "split": metric and metric.split,
        "headline": metric is not None and metric == record.headline,
        "value": metric and metric.value,
        "low": interval and interval.low,
        "high": interval and interval.high,
        "n": metric and metric.n,
        "n_clusters": interval and interval.n_clusters,
        "higher_is_better": metric and metric.higher_is_better,
        "data": task.data.status,
        "data_digest": task.data.digest,
        "limit": record.limit,
        "protocol": protocol.id,
        "version": protocol.version,
        "head": protocol.resolved.get("head"),
        "seeds": " ".join(str(seed) for seed in protocol.seeds),
        "status": record.status,
        "run_key": record.run_key,
        "record": gather.shown(filed.path),
    }


def _finding(finding: Finding) -> dict[str, object]:
    change = finding.change
    return {
        "task": finding.task,
        "model": finding.model,
        "metric": change and change.metric,
        "split": change and change.split,
        "outcome": finding.outcome.name.lower(),
        "why": finding.why,
        "reference": change and change.a,
        "new": change and change.b,
        "difference": change and change.difference,
        "low": change and change.low,
        "high": change and change.high,
        "tolerance": finding.tolerance,
    }


def _frame(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> DataFrame:
    # pandas takes longer to start than all of a report.
    import pandas as pd

    kinds = {name: "Int64" for name in columns if name in _WHOLE}
    kinds |= {name: "float64" for name in columns if name in _NUMBERS}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)
