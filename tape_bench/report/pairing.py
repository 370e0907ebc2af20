"""Which record is to be set against which, and whether it may be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from tape_bench.errors import UsageError
from tape_bench.report import runs
from tape_bench.report.gather import Filed
from tape_bench.results.record import RunRecord


@dataclass(frozen=True)
class Pair:
    """Two records of one task."""

    a: Filed
    b: Filed


@dataclass(frozen=True)
class Pairing:
    """All pairs of two sets of records, and what stays alone."""

    pairs: tuple[Pair, ...]
    only_a: tuple[Filed, ...]
    only_b: tuple[Filed, ...]


def pair(a: Sequence[Filed], b: Sequence[Filed]) -> Pairing:
    """Pair the records of two sides by task, model and protocol.

    Where each side holds a single model, its name need not agree. Of several records with the
    same settings the newest stands.

    Raises:
        UsageError: several records of one side could be meant.
    """
    left, right = runs.newest_filed(a), runs.newest_filed(b)
    one_model = all(len({f.record.model.name for f in side}) == 1 for side in (left, right))

    def model(record: RunRecord) -> str:
        return "" if one_model else record.model.name

    keys: list[Callable[[RunRecord], Hashable]] = [
        lambda r: (r.task.id, r.run_key),
        lambda r: (r.task.id, runs.identity(r), r.task.data.digest),
        lambda r: (r.task.id, model(r), r.protocol.id),
        lambda r: (r.task.id, model(r)),
    ]
    pairs = []
    for key in keys:
        by_a, by_b = _by(key, left), _by(key, right)
        for name in by_a.keys() & by_b.keys():
            if len(by_a[name]) == len(by_b[name]) == 1:
                pairs.append(Pair(by_a[name][0], by_b[name][0]))
        left = [filed for filed in left if all(filed is not done.a for done in pairs)]
        right = [filed for filed in right if all(filed is not done.b for done in pairs)]
    _refuse_ambiguity(_by(keys[-1], left), _by(keys[-1], right))
    pairs.sort(key=lambda done: (done.a.record.task.id, done.a.record.model.name))
    return Pairing(tuple(pairs), tuple(left), tuple(right))


def why_not_comparable(pair: Pair, metric: str, split: str) -> list[str]:
    """Return every reason not to set one metric of two records side by side; none if they may."""
    a, b = pair.a.record, pair.b.record
    reasons = [
        f"{filed.path.name} was changed after it was written: its digest does not match"
        for filed in (pair.a, pair.b)
        if not filed.intact
    ]
    for record in (a, b):
        if record.metric(metric, split) is None:
            reasons.append(f"{record.model.name} has no {metric} on {split}")
    if a.protocol.id != b.protocol.id or a.protocol.version != b.protocol.version:
        names = [f"{r.protocol.id} version {r.protocol.version}" for r in (a, b)]
        reasons.append(f"the protocols differ: {names[0]} and {names[1]}")
    if a.task.version != b.task.version:
        reasons.append(f"the task's card differs: version {a.task.version} and {b.task.version}")
    reasons += _data(a, b, split)
    if a.limit != b.limit:
        limits = ["all" if r.limit is None else f"the first {r.limit}" for r in (a, b)]
        reasons.append(f"the records used differ: {limits[0]} and {limits[1]} of each split")
    return reasons


def _data(a: RunRecord, b: RunRecord, split: str) -> list[str]:
    if a.task.data.digest == b.task.data.digest:
        return []
    splits_a, splits_b = a.task.data.splits, b.task.data.splits
    # A run may score some of the test splits only: what counts is what it read for this one.
    read = (splits_a.keys() & splits_b.keys()) | {split}
    differing = sorted(
        name
        for name in read
        if name not in splits_a
        or name not in splits_b
        or splits_a[name].digest != splits_b[name].digest
    )
    return [f"the data differs in {', '.join(differing)}"] if differing else []


def _by(key: Callable[[RunRecord], Hashable], side: Sequence[Filed]) -> dict[Hashable, list[Filed]]:
    groups = defaultdict(list)
    for filed in side:
        groups[key(filed.record)].append(filed)
    return groups


def _refuse_ambiguity(
    left: dict[Hashable, list[Filed]], right: dict[Hashable, list[Filed]]
) -> None:
    for name in left.keys() & right.keys():
        candidates = [*left[name], *right[name]]
        listed = "\n".join(f"  {filed.path}" for filed in candidates)
        raise UsageError(
            f"which records of {candidates[0].record.task.id} are meant? These could be:\n{listed}",
            fix="give the record files themselves, or a folder with one run in it",
        )
