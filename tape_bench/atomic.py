"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tape_bench import leftovers
from tape_bench.errors import StorageError

_ATTEMPTS = 20
"""Another process may remove the folder meanwhile: `cache clear`, or a run that has finished."""


def replace(path: Path, fill: Callable[[Path], Any]) -> None:
    """Fill a file under a temporary name, then move it into place: whole or not at all.

    Two processes may do so at once: the last one wins, and readers see one or the other. What a
    killed one has left under a temporary name goes. On return the file would outlast a power cut.

    Args:
        path: where the file belongs.
        fill: writes to the path it is given; called again where that has gone meanwhile.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            _replace(path, fill)
        except (FileNotFoundError, FileExistsError) as error:
            if attempt == _ATTEMPTS:
                raise storage_error(error, path) from error
            time.sleep(0.002 * attempt)
        except OSError as error:
            raise storage_error(error, path) from error
        else:
            return


def _replace(path: Path, fill: Callable[[Path], Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    leftovers.sweep(path.parent, path.name)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=leftovers.begin(path.name))
    temporary = Path(name)
    held = None
    try:
        held = leftovers.hold(temporary)
        fill(temporary)
        temporary.chmod(0o644)
        leftovers.to_disk(temporary)
        temporary.replace(path)
        leftovers.to_disk(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        for one in (handle, held):
            if one is not None:
                os.close(one)


def storage_error(error: OSError, path: Path) -> StorageError:
    """Say in plain words why a file could not be written."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return StorageError(
        "the disk is full" if full else f"cannot write here: {error.strerror or error}",
        where=str(path),
        fix="free some space, or choose another folder"
        if full
        else "choose a folder you may write to",
    )
