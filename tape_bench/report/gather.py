"""Find and read records: what cannot be read is reported, never passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tape_bench.errors import RecordError
from tape_bench.results import store
from tape_bench.results.record import RunRecord


@dataclass(frozen=True)
class Filed:
    """A record and the file it stands in."""

    path: Path
    record: RunRecord

    @property
    def intact(self) -> bool:
        """Whether the record is as the run wrote it."""
        return self.record.digest == store.digest(self.record)


@dataclass(frozen=True)
class Gathered:
    """Every record found, and every file that should have been one."""

    filed: tuple[Filed, ...]
    faults: tuple[RecordError, ...]

    @property
    def records(self) -> list[RunRecord]:
        """The records alone."""
        return [filed.record for filed in self.filed]


def gather(places: Sequence[Path]) -> Gathered:
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
    return Gathered(tuple(filed), tuple(faults))


def warnings(gathered: Gathered) -> list[str]:
    """Say in one line each which files could not be read."""
    return [f"left out {fault.where}: {fault.what}" for fault in gathered.faults]


def files(gathered: Gathered) -> dict[str, str]:
    """Return the digest of each record -> the file it stands in, as short as can be from here."""
    here = Path.cwd()
    return {
        filed.record.digest: str(
            filed.path.relative_to(here) if filed.path.is_relative_to(here) else filed.path
        )
        for filed in gathered.filed
        if filed.record.digest
    }


def _files(place: Path) -> list[Path]:
    if place.is_dir():
        return [path.resolve() for path in store.find(place)]
    if place.exists():
        return [place.resolve()]
    raise RecordError(
        "there are no records here: no such file or folder",
        where=str(place),
        fix="give a record or a folder of records; `tape-bench run` writes them to results/",
    )
