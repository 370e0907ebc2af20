"""What data there are: by task and split, beside what TAPE's own files hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tape_bench import paths
from tape_bench.atomic import storage_error
from tape_bench.cards import TaskCard
from tape_bench.data import locate
from tape_bench.data.examples import load_task
from tape_bench.data.opening import SAMPLE
from tape_bench.data.status import Status
from tape_bench.errors import DataError
from tape_bench.leftovers import private_folder, temporary_folder


@dataclass(frozen=True)
class SplitInventory:
    """One split, as found and as TAPE has it."""

    name: str
    records: int | None
    """Records found; None where the split is not there."""
    declared: int
    """Records of TAPE's own file."""
    digest: str | None
    """SHA-256 of the records found, as cards declare it."""


@dataclass(frozen=True)
class TaskInventory:
    """One task's data at a data place."""

    task: str
    source: str | None
    """Name of the data root or tarball; None where there is nothing."""
    status: Status | None
    """None where there is nothing, or nothing that can be opened."""
    reason: str
    splits: tuple[SplitInventory, ...] = ()
    faults: tuple[str, ...] = ()
    """What is wrong with the files."""


def status(cards: Iterable[TaskCard], place: str | Path) -> list[TaskInventory]:
    """List what data there are for these tasks, trusting what was read before."""
    return [_take_stock(card, place, paths.cache()) for card in cards]


def verify(cards: Iterable[TaskCard], place: str | Path) -> list[TaskInventory]:
    """Read and check every record again, and compare every file with what was unpacked.

    The sample is made again.

    Raises:
        StorageError: no room to work in.
    """
    try:
        # An empty cache: nothing of what was read before is believed.
        with _empty_folder() as empty:
            return [_take_stock(card, place, empty) for card in cards]
    except OSError as error:
        raise storage_error(error, paths.cache()) from error


@contextmanager
def _empty_folder() -> Iterator[Path]:
    """Make a folder in the cache, or with all that is temporary where that cannot be."""
    with ExitStack() as stack:
        try:
            paths.cache().mkdir(parents=True, exist_ok=True)
            made = stack.enter_context(private_folder(paths.cache(), "verify"))
        except OSError:
            made = stack.enter_context(temporary_folder())
        yield made


def _take_stock(card: TaskCard, place: str | Path, cache: Path) -> TaskInventory:
    name = Path(place).name
    try:
        changes = [] if str(place) == SAMPLE else _changes(card, paths.expand(place), cache)
        if changes is None:
            return TaskInventory(card.name, None, None, "no data")
        data = load_task(card, place, cache=cache)
    except DataError as error:
        return TaskInventory(card.name, name, None, "broken", faults=(str(error),))
    splits = tuple(
        SplitInventory(
            name,
            data[name].n_total if name in data else None,
            declared.records,
            data[name].digest if name in data else None,
        )
        for name, declared in card.splits.items()
    )
    return TaskInventory(card.name, data.source, data.status, data.reason, splits, tuple(changes))


def _changes(card: TaskCard, place: Path, cache: Path) -> list[str] | None:
    """Return which files differ from what was unpacked; None where the task has no data."""
    if not place.exists() or locate.find(card, place) is None:
        return None
    source = locate.locate(card, place, cache)
    return source.receipt.changes(source.folder, cache) if source.receipt else []
