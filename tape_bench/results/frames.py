"""Records as a pandas data frame: one row a score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tape_bench.results import collect
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
    "headline": "whether it is the score that stands in tables",
    "value": "the score, the mean over seeds; none where it is undefined",
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
    "run_key": "SHA-256 over everything that can change the scores",
    "record": "the file the record stands in",
}
"""Columns of `Records.to_frame()`; what the leaderboard shares with it has the same name there."""

_WHOLE = {"n", "n_clusters", "limit", "rank", "ranked"}
_NUMBERS = {
    "value", "low", "high", "gain", "a", "b", "difference", "p", "p_holm",
    "reference", "new", "tolerance",
}  # fmt: skip


def of_records(filed: Iterable[collect.Filed]) -> DataFrame:
    """Return one row for each metric of each record; one without metrics has a row all the same."""
    rows = [_figure(one, metric) for one in filed for metric in (one.record.metrics or (None,))]
    return frame(rows, tuple(RECORDS))


def _figure(filed: collect.Filed, metric: MetricRecord | None) -> dict[str, object]:
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
        "record": collect.shown(filed.path),
    }


def frame(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> DataFrame:
    """Return rows as a data frame, numbers in the types that can lack a value."""
    # pandas takes longer to start than all of a report.
    import pandas as pd

    kinds = {name: "Int64" for name in columns if name in _WHOLE}
    kinds |= {name: "float64" for name in columns if name in _NUMBERS}
    return pd.DataFrame(rows, columns=list(columns)).astype(kinds)
