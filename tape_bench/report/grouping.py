"""Which records belong together: repeats of one run, tasks of one row, and how runs differ."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tape_bench.results import store
from tape_bench.results.collect import Filed
from tape_bench.results.record import RunRecord

Run = Mapping[str, RunRecord]
"""One row of a leaderboard: a record for each task."""


def newest(records: Sequence[RunRecord]) -> tuple[list[RunRecord], int]:
    """Keep one record for each setting: the newest complete one, or else the newest.

    Returns:
        The records kept, newest first, and how many others had the same settings.
    """
    kept: dict[str, RunRecord] = {}
    for record in sorted(records, key=_standing, reverse=True):
        kept.setdefault(_settings(record), record)
    return (
        sorted(kept.values(), key=lambda record: record.provenance.started, reverse=True),
        len(records) - len(kept),
    )


def with_headlines(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Leave out runs on other splits alone, where the same model has a score to be shown."""
    has = {(*_named(record), record.task.id) for record in records if record.headline}
    return [
        record
        for record in records
        if record.headline
        or record.status != "complete"
        or (*_named(record), record.task.id) not in has
    ]


def newest_filed(filed: Sequence[Filed]) -> list[Filed]:
    """Do as `newest` does, with the files the records stand in."""
    kept = {id(record) for record in newest([one.record for one in filed])[0]}
    return [one for one in filed if id(one.record) in kept]


def identity(record: RunRecord) -> str:
    """Return what records of one row have in common: the model and the protocol, in full."""
    return _canonical(_facets(record))


def changes(before: RunRecord | None, now: RunRecord) -> list[str]:
    """Say what is new in a run against an earlier one of its model; all of it against none."""
    facets = [] if before is None else [_circumstances(before)]
    return [
        text
        for name, text in _circumstances(now).items()
        if text and all(other.get(name) != text for other in facets)
    ]


def _circumstances(record: RunRecord) -> dict[str, str]:
    """Facets of a run, and what it ran on."""
    account, data, rests_on = record.provenance, record.task.data, record.model.rests_on
    commit = (account.git_commit or "")[:7] + ("*" if account.git_dirty else "")
    return {
        **{name: text for name, text in _facets(record).items() if name != "model"},
        "code": f"code and files {rests_on.code[:7]}" if rests_on else "",
        "card": f"card version {record.task.version}",
        "data": f"{data.status} data {data.digest[:7]}",
        "package": f"tape-bench {account.package_version}",
        "commit": f"commit {commit}" if commit else "",
        "python": f"Python {account.python}",
        "devices": f"on {', '.join(account.devices)}",
        **{f"package {name}": f"{name} {version}" for name, version in account.packages.items()},
    }


def grouped(records: Sequence[RunRecord]) -> list[Run]:
    """Put records of the same model and protocol together, one for each task.

    Args:
        records: newest first; a second, different run of the same task starts another group.
    """
    groups: dict[str, list[dict[str, RunRecord]]] = defaultdict(list)
    for record in records:
        rows = groups[identity(record)]
        free = [row for row in rows if record.task.id not in row]
        same_data = [row for row in free if _sources(row) == {record.task.data.source}]
        if free:
            (same_data or free)[0][record.task.id] = record
        else:
            rows.append({record.task.id: record})
    return [row for rows in groups.values() for row in rows]


def variants(grouped: Sequence[Run]) -> list[str]:
    """Name what tells runs of the same model and protocol apart, and nothing else."""
    alike: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in grouped:
        alike[_name(run)].append(run)
    labels = [_differences(run, alike[_name(run)]) for run in grouped]
    times = Counter((_name(run), label) for run, label in zip(grouped, labels, strict=True))
    return [
        label
        if times[_name(run), label] == 1
        else ", ".join(filter(None, (label, f"run {_first(run).run_key[:7]}")))
        for run, label in zip(grouped, labels, strict=True)
    ]


def _differences(run: Run, alike: Sequence[Run]) -> str:
    own = _facets(_first(run))
    others = [_facets(_first(other)) for other in alike]
    found = [text for facet, text in own.items() if any(o.get(facet) != text for o in others)]
    digests = {(task, record.task.data.digest) for other in alike for task, record in other.items()}
    if len(digests) > len({task for task, _ in digests}):
        found.append(f"data {', '.join(sorted(_sources(run)))}")
    return ", ".join(found)


def _name(run: Run) -> tuple[str, str]:
    return _named(_first(run))


def _named(record: RunRecord) -> tuple[str, str]:
    return record.model.name, record.protocol.id


def _standing(record: RunRecord) -> tuple[bool, str]:
    return record.status == "complete", record.provenance.started


def _settings(record: RunRecord) -> str:
    """Everything visible that can change a score: records that share it repeat one run."""
    task, protocol = record.task, record.protocol
    return _canonical(
        [
            _facets(record),
            [task.id, task.version, task.data.digest, sorted(task.data.splits)],
            protocol.resolved,
        ]
    )


def _facets(record: RunRecord) -> dict[str, str]:
    """What a model and a protocol are, each in a few words, by the name of the facet."""
    model, protocol = record.model, record.protocol
    facets = {
        "model": model.name,
        "protocol": protocol.id,
        "revision": f"revision {model.revision}",
        "weights": f"weights {(model.weights_digest or 'none')[: store.SHOWN]}",
        "dtype": model.dtype,
        "layer": "last layer" if model.layer is None else f"layer {model.layer}",
        "version": f"{protocol.id} version {protocol.version}",
        "seeds": f"seeds {', '.join(str(seed) for seed in protocol.seeds)}",
        "limit": "all records" if record.limit is None else f"first {record.limit}",
    }
    facets |= {f"reading {name}": f"{name} {value}" for name, value in model.reading.items()}
    facets |= {
        f"given {name}": f"{name.replace('_', ' ')} {_plain(value)}"
        for name, value in protocol.given.items()
        if value is not None
    }
    return facets


def _first(run: Run) -> RunRecord:
    return next(iter(run.values()))


def _sources(run: Run) -> set[str]:
    return {record.task.data.source for record in run.values()}


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
