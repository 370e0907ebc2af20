"""Find and read records: what cannot be read is reported, never passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, overload

from tape_bench import text
from tape_bench.cards import Kind
from tape_bench.errors import RecordError
from tape_bench.results import store
from tape_bench.results.record import RunRecord
from tape_bench.scoring.predictions import Predictions

if TYPE_CHECKING:
    from pandas import DataFrame

PredictionsBySplit = dict[tuple[str, str], list[Predictions]]
"""(target, split) -> predictions, one for each seed."""


@dataclass(frozen=True)
class Filed:
    """A record and the file it stands in."""

    path: Path
    record: RunRecord

    @property
    def intact(self) -> bool:
        """Whether the record is as the run wrote it."""
        return self.record.digest == store.digest(self.record)

    def predictions(self) -> PredictionsBySplit:
        """Read the predictions beside the record: (target, split) -> one for each seed.

        Raises:
            RecordError: there are none, they are cut short, or they are not those of the record.
        """
        path = store.predictions_of(self.path, self.record)
        # Only who reads predictions needs it.
        from tape_bench.results.predictions import read_predictions, seeds_in_order

        found = read_predictions(path, cast(Kind, self.record.task.kind))
        return {place: list(seeds_in_order(by_seed)) for place, by_seed in found.items()}


@dataclass(frozen=True, repr=False)
class Records(Sequence[Filed]):
    """Every record found, and every file that should have been one."""

    filed: tuple[Filed, ...] = ()
    faults: tuple[RecordError, ...] = ()
    places: tuple[Path, ...] = ()
    """Where they were looked for."""

    @property
    def records(self) -> list[RunRecord]:
        """The records alone."""
        return [filed.record for filed in self.filed]

    def to_frame(self) -> DataFrame:
        """Return one row for each metric on each split of each record; docs/python.md has more.

        A record without metrics, as of a run that failed, has one row without a metric.
        """
        from tape_bench.results import frames

        return frames.of_records(self)

    @overload
    def __getitem__(self, index: int) -> Filed: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Filed | Records:
        if isinstance(index, slice):
            return Records(self.filed[index], places=self.places)
        return self.filed[index]

    def __iter__(self) -> Iterator[Filed]:
        return iter(self.filed)

    def __len__(self) -> int:
        return len(self.filed)

    def __repr__(self) -> str:
        where = ", ".join(map(str, self.places))
        said = [f"{len(self)} from {where}" if where else str(len(self))]
        said += [f"{len(self.faults)} unreadable"] if self.faults else []
        return f"<Records: {', '.join(said)}>"


def collect_records(places: Sequence[Path]) -> Records:
    """Read records from files and from folders, each file once.

    Raises:
        RecordError: a place does not exist.
    """
    filed, faults = [], []
    for path in dict.fromkeys(path for place in places for path in _files(place)):
        try:
            filed.append(Filed(path, store.read(path)))
        except RecordError as fault:
            faults.append(fault)
    return Records(tuple(filed), tuple(faults), tuple(places))


def warnings(collected: Records) -> list[str]:
    """Say in one line each which files could not be read."""
    return [text.line(f"left out {fault.where}: {fault.what}") for fault in collected.faults]


def files(collected: Iterable[Filed]) -> dict[str, str]:
    """Return the digest of each record -> the file it stands in, as short as can be from here."""
    return {one.record.digest: shown(one.path) for one in collected if one.record.digest}


def shown(path: Path) -> str:
    """Return a path as short as can be from here."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        return [_resolved(path) for path in store.find(place)]
    if place.exists() or place.is_symlink():
        return [_resolved(place)]
    raise RecordError(
        "there are no records here: no such file or folder",
        where=str(place),
        fix="give a record or a folder of records; `tape-bench run` writes them to results/",
    )


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link to itself, of which reading it will tell
        return path.absolute()
