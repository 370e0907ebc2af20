"""Keeping the representation cache within bounds, and telling what it holds.

Whole segments are removed, those longest unused first. A segment that some process still writes
is locked and stays; one that is being read stays readable to whoever has it open.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tape_bench.atomic import replace, storage_error
from tape_bench.cache.segments import INDEX, Segment, is_being_written
from tape_bench.cache.vectors import folder_of, listed, remove_segment, told_of
from tape_bench.errors import StorageError

SPARE_BYTES = 1 << 30
"""Free space on the disk that the cache never fills."""


@dataclass(frozen=True)
class Holding:
    """What the cache holds of one model."""

    folder: Path
    name: str
    spec: str
    dtype: str
    stored: str
    entries: int
    size: int
    """Bytes."""
    used: float
    """Time of the last use, in seconds since the epoch."""


@dataclass
class Verified:
    """What a look at every byte has found."""

    entries: int = 0
    damaged: int = 0
    removed: list[Path] = field(default_factory=list)
    """Leftovers that no index leads to."""


def holdings(root: Path) -> list[Holding]:
    """Return what the cache holds, by model, the last used first."""
    found = []
    for folder in _folders(root):
        told = told_of(folder)
        sizes, used, entries = 0, _used(folder), 0
        if not used:
            continue  # cleared meanwhile
        for path in listed(folder, "*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                sizes += status.st_size
                if path.suffix == ".index":
                    used = max(used, status.st_mtime)
                    entries += status.st_size // INDEX.itemsize
        labels = {key: str(told.get(key, "?")) for key in ("name", "spec", "dtype", "stored")}
        found.append(Holding(folder, **labels, entries=entries, size=sizes, used=used))
    return sorted(found, key=lambda holding: -holding.used)


def default_limit(root: Path) -> int:
    """Return the bytes the cache may take if nobody says: half of what it could have."""
    return (shutil.disk_usage(_existing(root)).free + _size(root)) // 2


def make_room(root: Path, needed: int, limit: int, spare: Collection[Path]) -> int:
    """Remove segments until there is room for `needed` more bytes, or nothing is left to remove.

    Args:
        root: cache root.
        needed: bytes about to be written.
        limit: bytes the cache may have in all.
        spare: index files of segments to leave alone.

    Returns:
        Bytes there is room for, which may be fewer.
    """
    room = _room(root, limit)
    if room >= needed:
        return room
    for index in sorted(_indices(root), key=_used):
        if index not in spare and not is_being_written(index):
            remove_segment(index)
            room = _room(root, limit)
        if room >= needed:
            break
    return max(room, 0)


def clear(root: Path, name: str | None = None) -> list[Holding]:
    """Remove what is kept of every model, or of the one of this name; return what was removed.

    Raises:
        StorageError: something cannot be removed.
    """
    removed = [holding for holding in holdings(root) if name in (None, holding.name)]
    for holding in removed:
        _remove(holding.folder)
    return removed


def _remove(folder: Path) -> None:
    for attempt in range(10):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            if not folder.exists():
                return  # another process has cleared it
        except OSError as error:
            # Somebody may have written into it meanwhile.
            if error.errno != errno.ENOTEMPTY or attempt == 9:
                raise StorageError(
                    f"cannot remove: {error.strerror}",
                    where=str(folder),
                    fix="end the runs that use it, or remove the folder by hand",
                ) from error
        else:
            return


def verify(root: Path) -> Verified:
    """Read all that is kept against its checksums, and remove what is damaged.

    What a segment holds beside its damaged entries stays. Vectors that a killed run has left
    without an index, and the other way round, are removed as well.

    Raises:
        StorageError: a segment cannot be repaired.
    """
    verified = Verified()
    for folder in _folders(root):
        hidden = told_of(folder).get("hidden")
        for index in listed(folder, "*.index"):
            if is_being_written(index):
                continue
            if not isinstance(hidden, int) or not index.with_suffix(".vectors").is_file():
                remove_segment(index)
                verified.removed.append(index)
                continue
            _repair(index, hidden, verified)
        for vectors in listed(folder, "*.vectors"):
            if not vectors.with_suffix(".index").is_file() and vectors.is_file():
                vectors.unlink(missing_ok=True)
                verified.removed.append(vectors)
    return verified


def _repair(index: Path, hidden: int, verified: Verified) -> None:
    try:
        segment = Segment(index, hidden)
        there = index.stat().st_size / INDEX.itemsize
        damaged = segment.damaged()
    except FileNotFoundError:
        return  # cleared meanwhile
    except OSError as error:
        raise storage_error(error, index) from error
    lost = int(np.ceil(there)) - len(segment.records)
    verified.entries += len(segment.records) + lost
    verified.damaged += int(damaged.sum()) + lost
    if damaged.any() or lost:
        whole = segment.records[~damaged].tobytes()
        replace(index, lambda path: _write(path, whole))


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _folders(root: Path) -> list[Path]:
    return [path for path in listed(folder_of(root), "*") if path.is_dir()]


def _indices(root: Path) -> Iterator[Path]:
    for folder in _folders(root):
        yield from listed(folder, "*.index")


def _used(path: Path) -> float:
    """Return the time of the last use; 0 for what has gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(root: Path) -> int:
    total = 0
    for folder in _folders(root):
        for path in listed(folder, "*"):
            with contextlib.suppress(OSError):
                total += path.stat().st_size
    return total


def _room(root: Path, limit: int) -> int:
    free = shutil.disk_usage(_existing(root)).free - SPARE_BYTES
    return min(limit - _size(root), free)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
