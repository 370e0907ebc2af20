"""The verbs `report`, `compare` and `check` as calls from Python.

Wherever records are asked for, a file or a folder will do, or what `load_records` returned, or
some of it: `[one for one in load_records() if one.record.model.name == "mine"]`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tape_bench import paths
from tape_bench.errors import RecordError
from tape_bench.results.collect import Filed, Records, collect_records, files
from tape_bench.results.collect import warnings as faults_of
from tape_bench.results.record import RunRecord

if TYPE_CHECKING:
    from pandas import DataFrame

    from tape_bench.report.comparison.compare import Change
    from tape_bench.report.gate.judge import Verdict
    from tape_bench.report.leaderboard.table import Leaderboard


@dataclass(frozen=True)
class Comparison:
    """What two sides' records say of each other."""

    changes: tuple[Change, ...]
    """One for each score compared."""
    notes: tuple[str, ...]
    """What could not be read, what was not compared, and why."""

    def to_frame(self) -> DataFrame:
        """Return one row for each score compared."""
        from tape_bench.report import frames

        return frames.of_changes(self.changes)


def load_records(*where: str | Path) -> Records:
    """Read run records from files and folders; from results/ if none is named.

    A file that cannot be read is warned of, and stands in `faults`.

    Raises:
        RecordError: a place does not exist.
    """
    found = collect_records([paths.expand(place) for place in where] or [paths.results()])
    for line in faults_of(found):
        warnings.warn(line, stacklevel=2)
    return found


def leaderboard(
    records: str | Path | Iterable[Filed | RunRecord] | None = None, *, notes: Sequence[str] = ()
) -> Leaderboard:
    """Set records beside the published scores; a notebook shows the result as tables.

    Args:
        records: a file or folder, what `load_records` or `evaluate` returned, or some of it;
            those in results/ if nothing is given.
        notes: what readers must know besides, shown below the tables.

    Raises:
        RecordError: the file or folder does not exist.
    """
    from tape_bench import registry
    from tape_bench.report.leaderboard.build import build_leaderboard

    if records is None or isinstance(records, str | Path):
        records = _records(paths.results() if records is None else records)
    unread = faults_of(records) if isinstance(records, Records) else []
    given = list(records)
    return build_leaderboard(
        [one.record if isinstance(one, Filed) else one for one in given],
        registry.baselines(),
        {name: registry.task(name) for name in registry.task_names()},
        warnings=[*unread, *notes],
        files=files(one for one in given if isinstance(one, Filed)),
    )


def compare(
    a: str | Path | Iterable[Filed],
    b: str | Path | Iterable[Filed],
    *,
    every_metric: bool = False,
    anyway: bool = False,
    data: str | None = None,
    seeds: Sequence[int] | None = None,
    latest: bool = False,
    draws: int = 10_000,
) -> Comparison:
    """Compare the records of run B with those of run A: is the difference real?

    Args:
        a: records of one side.
        b: records of the other side; differences are B less A.
        every_metric: all metrics on all splits, not just the headline score of each task.
        anyway: compare what is not comparable, too; each change says so.
        data: only records on this data: official, partial, other, sample, or how its digest begins.
        seeds: only records of runs with these seeds.
        latest: of several records of a task and model only the newest.
        draws: bootstrap draws, and permutations.

    Raises:
        RecordError: a place does not exist, or no records of the two sides pair up.
        NotComparableError: some are not comparable; all reasons are listed.
    """
    from tape_bench.report import choosing
    from tape_bench.report.comparison import compare as comparing
    from tape_bench.report.comparison import pairing

    sides = [_records(side) for side in (a, b)]
    paired = pairing.match(
        *(
            choosing.chosen(
                [one for one in side if one.record.status == "complete"],
                data=data,
                seeds=None if seeds is None else tuple(seeds),
                latest=latest,
            )
            for side in sides
        )
    )
    pairs, aside = pairing.to_compare(paired, anyway=anyway, trials=data is not None)
    aside = [line for side in sides for line in faults_of(side)] + aside
    if not pairs:
        looked_in = [", ".join(map(str, side.places)) for side in sides]
        raise RecordError(
            "\n  ".join(["no records of the two sides pair up", *aside]),
            where=" and ".join(filter(None, looked_in)) or None,
            fix="`tape-bench run` both models on the same tasks, or choose with --data, --seeds "
            "and --latest",
        )
    changes = comparing.compare(pairs, every_metric=every_metric, anyway=anyway, draws=draws)
    return Comparison(tuple(changes), tuple(aside))


def check(
    new: str | Path | Iterable[Filed],
    against: str | Path | Iterable[Filed],
    *,
    tolerance: float | Mapping[str, float] = 0.0,
    paired: bool = False,
    level: float = 0.95,
) -> Verdict:
    """Tell whether new records fall behind reference records; `outcome` is the exit code.

    Args:
        new: what is checked.
        against: the records that must not be fallen behind.
        tolerance: a drop that is let pass, for all scores, or by task (`contact`) or metric of a
            task (`contact:ID`).
        paired: let a drop pass, too, that chance could make.
        level: confidence level of all paired intervals together.

    Raises:
        RecordError: a place does not exist.
        UsageError: it is not clear which records belong together, or a tolerance makes no sense.
    """
    from tape_bench.report.gate import judge
    from tape_bench.report.gate.tolerance import parse

    texts = (
        [f"{name}={amount}" for name, amount in tolerance.items()]
        if isinstance(tolerance, Mapping)
        else [str(tolerance)]
    )
    return judge.check(_records(new), _records(against), parse(texts), paired=paired, level=level)


def _records(given: str | Path | Iterable[Filed]) -> Records:
    if isinstance(given, Records):
        return given
    if isinstance(given, str | Path):
        return collect_records([paths.expand(given)])
    return Records(tuple(given))
