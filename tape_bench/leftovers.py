"""What a process has under way, told from what a killed one has left behind.

Whoever works on a file or in a folder of its own holds a lock on it, which the system lets go of
when the process ends, however it ends. What bears the name of such work and is not locked has been
left: the next process that comes to do the same removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tape_bench.errors import StorageError

_RANDOM = r"[a-z0-9_]{8}"
"""What `tempfile` puts into names to make them new."""


def hold(path: Path) -> int | None:
    """Lock a file or folder until `os.close` of what is returned; None where another holds it.

    Raises:
        OSError: it cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError:  # a file system without locks
        return handle
    return handle


def begin(name: str) -> str:
    """Return the beginning of the name of what is under way, to which eight letters are added."""
    return f".{name}."


def sweep(parent: Path, name: str) -> None:
    """Remove what killed processes have left in a folder under the name of something."""
    left = re.compile(re.escape(begin(name)) + _RANDOM)
    with contextlib.suppress(OSError):
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if left.fullmatch(entry.name)]
        for path in found:
            _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return
        handle = hold(path)
        if handle is None:
            return
        try:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(handle)


@contextmanager
def private_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder `.NAME.xxxxxxxx` for this process alone; it goes when the block is left.

    Raises:
        OSError: it cannot be made.
    """
    sweep(parent, name)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=begin(name)))
    handle = hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def sweep_temporary() -> None:
    """Remove what killed commands have left where the system keeps what is temporary."""
    sweep(Path(tempfile.gettempdir()), "tape-bench")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Make such a folder where the system keeps what is temporary."""
    with private_folder(Path(tempfile.gettempdir()), "tape-bench") as folder:
        yield folder


@contextmanager
def claimed(folder: Path, what: Path) -> Iterator[None]:
    """Work in a folder that others would work in who make the same thing; it is made if need be.

    Args:
        folder: the folder; whoever leaves the block may have removed or renamed it.
        what: what is made, for the message.

    Raises:
        StorageError: another process is at it.
        OSError: the folder cannot be made.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = hold(folder)
        except FileNotFoundError:
            continue  # it was finished just then
        if handle is None:
            raise StorageError(
                "another process is writing this just now",
                where=str(what),
                fix="wait for it to end, or choose another output",
            )
        if _still_there(folder, handle):
            break
        os.close(handle)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # where nothing came of it
        os.close(handle)


def _still_there(folder: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except OSError:
        return False


def to_disk(path: Path) -> None:
    """See that a file, or the names in a folder, would outlast a power cut, where that can be."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
