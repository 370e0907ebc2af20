"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tape_bench.errors import StorageError


def replace(path: Path, fill: Callable[[Path], Any]) -> None:
    """Fill a file under a temporary name, then move it into place: whole or not at all.

    Two processes may do so at once: the last one wins, and readers see one or the other.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        fill(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


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
