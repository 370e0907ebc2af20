"""Leaderboards, comparisons and verdicts as pandas data frames: one row a score."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tape_bench.report.comparison import compare
from tape_bench.report.gate.judge import Finding
from tape_bench.report.leaderboard.formats import csv
from tape_bench.report.leaderboard.table import Leaderboard
from tape_bench.results.frames import frame

if TYPE_CHECKING:
    from pandas import DataFrame

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


def of_leaderboard(leaderboard: Leaderboard) -> DataFrame:
    """Return one row for each score of a leaderboard."""
    rows = [dict(zip(csv.HEADER, line, strict=True)) for line in csv.lines(leaderboard)]
    return frame(rows, csv.HEADER)


def of_changes(changes: Iterable[compare.Change]) -> DataFrame:
    """Return one row for each score compared."""
    rows = [
        {name: getattr(change, name, None) for name in COMPARISON}
        | {"doubts": "; ".join(change.doubts), "in_words": compare.in_words(change)}
        for change in changes
    ]
    return frame(rows, COMPARISON)


def of_findings(findings: Iterable[Finding]) -> DataFrame:
    """Return one row for each score checked."""
    return frame([_finding(finding) for finding in findings], VERDICT)


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
