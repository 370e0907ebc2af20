"""Which record is to be set against which, and whether it may be."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from tape_bench.errors import UsageError
from tape_bench.report import choosing, grouping
from tape_bench.results.collect import Filed
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
    unclear: tuple[tuple[Filed, ...], ...] = ()
    """Records of one task and model on both sides that could be paired in several ways."""


def pair(a: Sequence[Filed], b: Sequence[Filed]) -> Pairing:
    """Pair the records of two sides, as `match` does, and refuse what could be meant otherwise.

    Raises:
        UsageError: several records of one side could be meant.
    """
    found = match(a, b)
    for candidates in found.unclear:
        listed = "\n".join(f"  {filed.path}" for filed in candidates)
        raise UsageError(
            f"which records of {candidates[0].record.task.id} are meant? These could be:\n{listed}",
            fix="give the record files themselves, or a folder with one run in it",
        )
    return found


def match(a: Sequence[Filed], b: Sequence[Filed]) -> Pairing:
    """Pair the records of two sides by task, model and protocol, like with like first.

    Where each side holds a single model, its name need not agree. Of several records with the
    same settings the newest stands.
    """
    left, right = grouping.newest_filed(a), grouping.newest_filed(b)
    one_model = all(len({f.record.model.name for f in side}) == 1 for side in (left, right))

    def model(record: RunRecord) -> str:
        return "" if one_model else record.model.name

    def read(record: RunRecord) -> Hashable:
        return record.task.data.digest, record.limit

    def asked(record: RunRecord) -> Hashable:
        protocol = record.protocol
        given = json.dumps(protocol.given, sort_keys=True)
        return protocol.id, protocol.version, given, tuple(protocol.seeds)

    keys: list[Callable[[RunRecord], Hashable]] = [
        lambda r: (r.task.id, r.run_key),
        lambda r: (r.task.id, grouping.identity(r), r.task.data.digest),
        lambda r: (r.task.id, model(r), asked(r), read(r)),
        lambda r: (r.task.id, model(r), r.protocol.id, read(r)),
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
    by_a, by_b = _by(keys[-1], left), _by(keys[-1], right)
    both = sorted(by_a.keys() & by_b.keys(), key=str)
    pairs.sort(key=lambda done: (done.a.record.task.id, done.a.record.model.name))
    return Pairing(
        tuple(pairs),
        tuple(filed for name, group in by_a.items() if name not in both for filed in group),
        tuple(filed for name, group in by_b.items() if name not in both for filed in group),
        tuple((*by_a[name], *by_b[name]) for name in both),
    )


def to_compare(
    pairing: Pairing, *, anyway: bool = False, trials: bool = False
) -> tuple[list[Pair], list[str]]:
    """Tell the pairs worth comparing, and say of everything else why it is not compared.

    Args:
        pairing: what was found.
        anyway: compare what is not comparable, too.
        trials: compare trials beside real runs, too.
    """
    pairs, aside, refused, tried = [], [], [], []
    for one in pairing.pairs:
        task = one.a.record.task
        doubts = why_not_comparable(one, task.primary, task.headline)
        if doubts and not anyway:
            refused.append(one)
            aside.append(f"not compared: {_named(one)}: {'; '.join(doubts)}")
        elif choosing.trial(one.a.record) and choosing.trial(one.b.record) and not trials:
            tried.append(one)
        else:
            pairs.append(one)
    if not pairs:
        # Nothing but trials; or nothing comparable, which the comparison itself explains.
        pairs, tried = tried or refused, []
    if tried:
        count = f"{len(tried)} pair{'s' * (len(tried) > 1)} of trials"
        aside.append(f"not compared: {count} (simulated data, --limit); --data chooses them")
    for candidates in pairing.unclear:
        name, model = candidates[0].record.task.id, candidates[0].record.model.name
        listed = "; ".join(sorted({choosing.described(one.record) for one in candidates}))
        aside.append(
            f"not compared: {name} of {model}: {len(candidates)} records could be meant "
            f"({listed}); choose with --data, --seeds or --latest"
        )
    alone: dict[str, list[str]] = defaultdict(list)
    for side, left in (("A", pairing.only_a), ("B", pairing.only_b)):
        for filed in left:
            record = filed.record
            seeds = ",".join(str(seed) for seed in record.protocol.seeds)
            whose = f"{record.model.name} ({record.task.data.status} data, seeds {seeds})"
            alone[f"only {side} has {whose} on"].append(record.task.id)
    aside += [f"not compared: {whose} {', '.join(tasks)}" for whose, tasks in alone.items()]
    return pairs, aside


def _named(pair: Pair) -> str:
    a, b = pair.a.record, pair.b.record
    models = a.model.name if a.model.name == b.model.name else f"{a.model.name}, {b.model.name}"
    return f"{a.task.id} of {models}"


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
