"""The gate: whether something got worse, and only then a closed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from tape_bench.report.comparison.compare import Change, measured, predictions_of, score_change
from tape_bench.report.comparison.pairing import Pair, pair
from tape_bench.report.gate.tolerance import Tolerances
from tape_bench.results.collect import Filed, Records

if TYPE_CHECKING:
    from pandas import DataFrame


class Exit(IntEnum):
    """What the exit code of `tape-bench check` says."""

    FINE = 0
    REGRESSION = 1
    USAGE = 2
    NOT_COMPARABLE = 3
    UNTOLD = 4


@dataclass(frozen=True)
class Finding:
    """One score checked."""

    outcome: Exit
    why: str
    task: str
    model: str
    change: Change | None = None
    """The scores themselves; None where there is nothing to compare."""
    tolerance: float = 0.0

    @property
    def name(self) -> str:
        """Name of the score, e.g. `stability_score.spearman on test`."""
        return f"{self.change.metric} on {self.change.split}" if self.change else "record"


@dataclass(frozen=True)
class Verdict:
    """All findings of one check."""

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    """What does not count, but should be known."""
    paired: bool
    level: float

    @property
    def outcome(self) -> Exit:
        """The exit code: a regression outweighs what could not be checked."""
        found = {finding.outcome for finding in self.findings}
        for outcome in (Exit.REGRESSION, Exit.NOT_COMPARABLE, Exit.UNTOLD):
            if outcome in found:
                return outcome
        return Exit.FINE

    def to_frame(self) -> DataFrame:
        """Return one row for each score checked."""
        from tape_bench.report import frames

        return frames.of_findings(self.findings)


def check(
    new: Records,
    reference: Records,
    tolerances: Tolerances,
    *,
    paired: bool = False,
    level: float = 0.95,
    draws: int = 10_000,
) -> Verdict:
    """Set new records against reference records.

    Args:
        new: what is checked.
        reference: what it must not fall behind; each of its records needs a counterpart.
        tolerances: drops that are let pass.
        paired: let a drop pass, too, that chance could make: the whole interval of the change,
            paired by protein and widened by seed variance, must lie below zero.
        level: confidence level of all intervals together (Bonferroni), so that checking many
            scores does not raise more false alarms than checking one.
        draws: bootstrap draws.

    Raises:
        UsageError: it is not clear which records belong together.
    """
    findings = [
        Finding(Exit.UNTOLD, f"{side}: {fault.what}", "", str(fault.where))
        for side, collected in (("new", new), ("reference", reference))
        for fault in collected.faults
    ]
    if not reference.filed:
        findings.append(Finding(Exit.UNTOLD, "there are no reference records", "", ""))
    pairing = pair(reference.filed, new.filed)
    chosen = [(one, _checked(one, tolerances)) for one in pairing.pairs]
    each = level_of_each(level, sum(len(changes) for _, changes in chosen))
    for one, changes in chosen:
        findings += _findings(one, changes, tolerances, paired, each, draws)
    findings += [_missing(filed) for filed in pairing.only_a]
    notes = tuple(
        f"{filed.record.task.id}: {filed.record.model.name} has no reference; nothing checked"
        for filed in pairing.only_b
    )
    return Verdict(tuple(findings), notes, paired, level)


def level_of_each(level: float, scores: int) -> float:
    """Return the level each of several intervals needs for `level` to hold for all of them."""
    return 1 - (1 - level) / max(scores, 1)


def _checked(pair: Pair, tolerances: Tolerances) -> list[Change]:
    task = pair.a.record.task
    metrics = dict.fromkeys([task.primary, *tolerances.extra_metrics(task.id)])
    return [score_change(pair, metric, task.headline) for metric in metrics]


def _findings(
    pair: Pair,
    changes: Sequence[Change],
    tolerances: Tolerances,
    paired: bool,
    level: float,
    draws: int,
) -> list[Finding]:
    reference, new = pair.a.record, pair.b.record
    for side, record in (("reference", reference), ("new", new)):
        if record.status != "complete":
            why = f"the {side} run is {record.status}"
            return [Finding(Exit.UNTOLD, why, new.task.id, new.model.name)]
    kept = predictions_of(pair) if paired and not any(change.doubts for change in changes) else None
    findings = []
    for change in changes:
        tolerance = tolerances.of(change.task, change.metric)
        if kept is not None:
            change = measured(change, kept, reference.task.kind, level, draws)
        outcome, why = judge(change, tolerance, paired)
        findings.append(Finding(outcome, why, change.task, new.model.name, change, tolerance))
    return findings


def judge(change: Change, tolerance: float, paired: bool) -> tuple[Exit, str]:
    """Say what one measured change means for the gate, and why."""
    if change.doubts:
        return Exit.NOT_COMPARABLE, "; ".join(change.doubts)
    if change.a is None:
        return Exit.FINE, "the reference is undefined: nothing to fall behind"
    if change.b is None or change.better is None:
        return Exit.UNTOLD, "the score has become undefined"
    drop = -change.better
    if drop <= tolerance:
        return Exit.FINE, "no worse" if drop <= 0 else f"worse by {drop:.4g}, within tolerance"
    if not paired:
        return Exit.REGRESSION, f"worse by {drop:.4g}, more than {tolerance:g}"
    if change.low is None or change.high is None:
        return Exit.UNTOLD, f"worse by {drop:.4g}, not told from chance: {change.remark}"
    low, high = (
        (change.low, change.high) if change.higher_is_better else (-change.high, -change.low)
    )
    interval = f"interval of the change {low:+.4g} to {high:+.4g}"
    if high < 0:
        return Exit.REGRESSION, f"worse by {drop:.4g}, more than {tolerance:g}; {interval}"
    return Exit.FINE, f"worse by {drop:.4g}, which chance could make; {interval}"


def _missing(filed: Filed) -> Finding:
    record = filed.record
    return Finding(Exit.UNTOLD, "there is no new record of this", record.task.id, record.model.name)
