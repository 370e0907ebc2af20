"""Which of several records are meant, where a folder holds more than one run."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from tape_bench.errors import RecordError
from tape_bench.results.collect import Filed
from tape_bench.results.record import RunRecord


def chosen(
    filed: Sequence[Filed],
    *,
    data: str | None = None,
    seeds: tuple[int, ...] | None = None,
    latest: bool = False,
) -> list[Filed]:
    """Keep the records that are meant.

    Args:
        filed: records of any tasks and models.
        data: status or source of the data, or the start of its digest.
        seeds: the seeds of the run, in any order.
        latest: of several records of a task and model the newest; trials do not outdate others.

    Raises:
        RecordError: none is left.
    """
    kept = [
        one
        for one in filed
        if (data is None or _on(one.record, data))
        and (seeds is None or set(one.record.protocol.seeds) == set(seeds))
    ]
    if filed and not kept:
        there = sorted({f"{one.record.task.id}: {described(one.record)}" for one in filed})
        raise RecordError(
            "no record is of that kind; there are:\n" + "\n".join(f"  {line}" for line in there),
            fix="choose one of these with --data and --seeds",
        )
    if latest:
        newest: dict[Hashable, Filed] = {}
        for one in sorted(kept, key=lambda one: one.record.provenance.started):
            record = one.record
            newest[record.task.id, record.model.name, trial(record)] = one
        kept = list(newest.values())
    return kept


def trial(record: RunRecord) -> bool:
    """Whether a run was a trial: on simulated data, or on the first records only."""
    return record.task.data.status == "simulated" or record.limit is not None


def _on(record: RunRecord, wanted: str) -> bool:
    data = record.task.data
    return wanted in (data.status, data.source) or (
        len(wanted) >= 6 and data.digest.startswith(wanted)
    )


def described(record: RunRecord) -> str:
    """Say in a few words what tells a record from others of its task and model."""
    parts = [
        f"{record.task.data.status} data {record.task.data.digest[:7]}",
        f"first {record.limit}" if record.limit is not None else "",
        record.protocol.id,
        *(f"{name} {value}" for name, value in record.protocol.given.items() if value is not None),
        f"seeds {','.join(str(seed) for seed in record.protocol.seeds)}",
    ]
    return ", ".join(filter(None, parts))
