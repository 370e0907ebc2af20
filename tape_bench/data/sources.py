"""Where a task's files are: under a data root, in a folder of tarballs, or in one tarball."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tape_bench import memo
from tape_bench.cards import TaskCard
from tape_bench.data.digests import digest_of
from tape_bench.data.tarballs import Receipt, read_receipt, unpack
from tape_bench.errors import DataError


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
        raise DataError(
            f"no data for the task {card.name}: looked for the folder {folder}/ and for "
            f"{folder}.tar.gz, here and one folder down",
            where=str(place),
            fix=f"run `tape-bench data fetch {card.name}`, or give the folder above {folder}/",
        )
    if found.is_dir():
        return Source(place.resolve().name, found, read_receipt(found))
    digest = digest_of(found, cache)
    into = cache / "unpacked" / digest.sha256
    unpacked = into / folder
    if unpacked.is_dir() and memo.attempt(lambda: read_receipt(unpacked)) is None:
        # In the cache a folder without a whole receipt is as good as not there.
        shutil.rmtree(unpacked, ignore_errors=True)
    if not unpacked.is_dir():
        unpacked = unpack(found, digest, folder, into, cache)
    return Source(found.name, unpacked, read_receipt(unpacked))


def find(card: TaskCard, place: Path) -> Path | None:
    """Find a task's folder or tarball at a data place; None if it is not there.

    Raises:
        DataError: there is no such place, or the tarball stands in it twice.
    """
    if not place.exists():
        raise DataError(
            "there is no such data place",
            where=str(place),
            fix="run `tape-bench data fetch`, give the right --data, or use --data sample",
        )
    if place.is_file():
        return place
    folder = place / card.source.folder
    return folder if folder.is_dir() else find_tarball(card.source.folder, place)


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
