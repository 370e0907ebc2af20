"""One score over time: which commit and version gave what, on which data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tape_bench.report import grouping
from tape_bench.report.comparison.pairing import Pair, why_not_comparable
from tape_bench.results.collect import Filed
from tape_bench.results.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tape_bench.report.plots.style import Plot


@dataclass(frozen=True)
class Entry:
    """The score of one record."""

    changed: tuple[str, ...]
    """What is new against the entry before; of the first, what it was."""
    started: str
    version: str
    commit: str | None
    dirty: bool
    protocol: str
    data: str
    value: float | None
    low: float | None
    high: float | None
    change: float | None
    """Difference from the entry before, where the two are comparable."""
    remark: str | None
    """Why there is no value, or why it is not comparable with the entry before."""


def history(filed: Sequence[Filed], task: str, model: str, metric: str, split: str) -> list[Entry]:
    """List the scores of a model on a task, oldest first.

    Args:
        filed: records of any tasks and models.
        task: name of the task.
        model: name of the model.
        metric: id of the metric.
        split: name of the split.
    """
    chosen = sorted(
        (f for f in filed if f.record.task.id == task and f.record.model.name == model),
        key=lambda f: f.record.provenance.started,
    )
    return [
        _entry(now, before, metric, split)
        for before, now in zip([None, *chosen], chosen, strict=False)
    ]


def plot(entries: Sequence[Entry], title: str, label: str) -> Plot:
    """Draw the scores in order, with intervals; where data or protocol change, the line breaks."""
    from tape_bench.report.plots import style

    def draw() -> Figure:
        figure, (panel,) = style.figure(1, 1, 2.5 + 0.5 * len(entries), 3.4)
        for place, entry in enumerate(entries):
            if entry.value is None:
                continue
            if entry.low is not None and entry.high is not None:
                panel.plot([place, place], [entry.low, entry.high], color=style.PALETTE[4])
            panel.plot(place, entry.value, "o", color=style.PALETTE[0])
            if entry.change is not None:
                ends = [entry.value - entry.change, entry.value]
                panel.plot([place - 1, place], ends, color=style.PALETTE[0], linewidth=1)
        names = [(entry.commit or entry.version)[:7] for entry in entries]
        panel.set_xticks(range(len(entries)), names, rotation=60, ha="right")
        panel.set_ylabel(label)
        panel.grid(axis="y", color=style.FAINT, linewidth=0.6)
        return figure

    return style.Plot("history", f"{label} over records: {title}", draw, title=title)


def _entry(now: Filed, before: Filed | None, metric: str, split: str) -> Entry:
    record = now.record
    found = record.metric(metric, split)
    value = found.value if found else None
    interval = found.interval if found else None
    remark = None
    change = None
    if found is None:
        remark = record.error or f"{record.status}: no {metric} on {split}"
    elif value is None:
        remark = found.undefined
    elif before is not None:
        earlier = before.record.metric(metric, split)
        doubts = why_not_comparable(Pair(before, now), metric, split)
        remark = "; ".join(doubts) or None
        if not doubts and earlier and earlier.value is not None:
            change = value - earlier.value
    account = record.provenance
    return Entry(
        changed=tuple(_changed(now.record, before.record if before else None)),
        started=account.started,
        version=account.package_version,
        commit=account.git_commit,
        dirty=bool(account.git_dirty),
        protocol=record.protocol.id,
        data=f"{record.task.data.status} {record.task.data.digest[:7]}",
        value=value,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        change=change,
        remark=remark,
    )


def _changed(now: RunRecord, before: RunRecord | None) -> list[str]:
    if before is not None:
        return grouping.changes(before, now) or ["nothing that the record tells"]
    account, data = now.provenance, now.task.data
    return [f"tape-bench {account.package_version}", now.protocol.id, f"{data.status} data"]
