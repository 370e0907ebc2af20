"""Where a task's files are: under a data root, in a folder of tarballs, or in one tarball."""

from __future__ import annotations

import atexit
import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tape_bench import memo
from tape_bench.cards import TaskCard
from tape_bench.data.digests import FileDigest, digest_of
from tape_bench.data.fetch.tarballs import Receipt, read_receipt, unpack
from tape_bench.errors import DataError, StorageError
from tape_bench.leftovers import temporary_folder


@dataclass(frozen=True)
class Source:
    """A task's folder of split files."""

    name: str
    """Name of the data root or the tarball, for records."""
    folder: Path
    receipt: Receipt | None
    """What the folder was unpacked from, where we unpacked it."""


def locate(card: TaskCard, place: Path, cache: Path) -> Source:
    """Find a task's files at a data place; a tarball is unpacked into the cache, once.

    Args:
        card: the task.
        place: a data root holding `<folder>/`, a folder that holds `<folder>.tar.gz` itself or
            one level down, or such a tarball.
        cache: cache root.

    Raises:
        DataError: there is nothing for this task, or the same tarball twice.
        StorageError: no room to unpack.
    """
    folder = card.source.folder
    found = find(card, place)
    if found is None:
        raise no_data([card], place)
    if found.is_dir():
        return Source(place.resolve().name, found, read_receipt(found))
    digest = digest_of(found, cache)
    into = cache / "unpacked" / digest.sha256
    unpacked = into / folder
    if unpacked.is_dir() and memo.attempt(lambda: read_receipt(unpacked)) is None:
        # In the cache a folder without a whole receipt is as good as not there.
        shutil.rmtree(unpacked, ignore_errors=True)
    if not unpacked.is_dir():
        unpacked = _unpack(found, digest, folder, into, cache)
    return Source(found.name, unpacked, read_receipt(unpacked))


def _unpack(tarball: Path, digest: FileDigest, folder: str, into: Path, cache: Path) -> Path:
    """Unpack into the cache; for this process alone where it cannot be written."""
    try:
        return unpack(tarball, digest, folder, into, cache)
    except StorageError as error:
        if _may_write(cache):
            raise
        warnings.warn(
            f"{error.what}: {tarball.name} is unpacked for this command alone\n"
            f"  where: {cache}\n  to do: choose another TAPE_BENCH_CACHE",
            stacklevel=3,
        )
    kept = ExitStack()
    atexit.register(kept.close)
    return unpack(tarball, digest, folder, kept.enter_context(temporary_folder()), cache)


def _may_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def without_data(cards: Sequence[TaskCard], place: Path) -> dict[str, DataError]:
    """Return the error of every task that has nothing at a data place: one error for them all.

    Raises:
        DataError: there is no such place, or nothing of any task in it.
    """
    _check_place(place)
    absent = []
    for card in cards:
        # What stands there twice is not absent; opening it tells.
        with contextlib.suppress(DataError):
            if find(card, place) is None:
                absent.append(card)
    if not absent:
        return {}
    error = no_data(absent, place)
    if len(absent) == len(cards):
        raise error
    return {card.name: error for card in absent}


def no_data(cards: Sequence[TaskCard], place: Path) -> DataError:
    """Build the one error for all tasks that have no data at a place."""
    names = [card.name for card in cards]
    folders = [card.source.folder for card in cards]
    tarballs = ", ".join(f"{folder}.tar.gz" for folder in folders)
    return DataError(
        f"no data for the task{'s' * (len(cards) > 1)} {', '.join(names)}: looked for "
        f"{', '.join(f'{folder}/' for folder in folders)} and for {tarballs}, here and one folder "
        "down",
        where=str(place),
        fix=f"run `tape-bench data fetch {' '.join(names)}`, give the folder above "
        f"{folders[0]}/, or use --data sample",
    )


def find(card: TaskCard, place: Path) -> Path | None:
    """Find a task's folder or tarball at a data place; None if it is not there.

    Raises:
        DataError: there is no such place, or the tarball stands in it twice.
    """
    _check_place(place)
    if place.is_file():
        return place
    folder = place / card.source.folder
    return folder if folder.is_dir() else find_tarball(card.source.folder, place)


def _check_place(place: Path) -> None:
    if not place.exists():
        raise DataError(
            "there is no such data place",
            where=str(place),
            fix="run `tape-bench data fetch`, give the right --data, or use --data sample",
        )


def find_tarball(folder: str, place: Path) -> Path | None:
    """Find `<folder>.tar.gz` in a folder or one level down; None if there is none.

    Raises:
        DataError: there are two, and they may differ.
    """
    name = f"{folder}.tar.gz"
    found = [path for path in (place / name, *sorted(place.glob(f"*/{name}"))) if path.is_file()]
    if len(found) > 1:
        raise DataError(
            f"the tarball {name} stands in {len(found)} places: {', '.join(map(str, found))}",
            where=str(place),
            fix="give the folder of the one that is meant",
        )
    return found[0] if found else None
