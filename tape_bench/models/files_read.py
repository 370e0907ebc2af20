"""Which files Python code reads while it runs: tables and the like that a model looks things up in.

What a model has read before, and holds, is found in its values. What it opens each time it is
asked can only be seen then. Files that a library opens in C or Rust do not show.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tape_bench.models.installed import is_installed

_CODE = {".py", ".pyc", ".so", ".pyd"}
_NO_FILES = ("/proc/", "/sys/", "/dev/")

_opened: set[str] | None = None
"""Files opened for reading, while somebody wants to know; None while nobody does."""


@contextlib.contextmanager
def files_read() -> Iterator[list[Path]]:
    """Collect the files that are opened for reading meanwhile; the list is filled at the end.

    Code and what belongs to installed packages are left out.
    """
    global _opened
    _hook()
    found: list[Path] = []
    opened: set[str] = set()
    _opened = opened
    try:
        yield found
    finally:
        _opened = None
        found += sorted(path for path in map(Path, opened) if _is_data(path))


@cache
def _hook() -> None:
    # It cannot be taken away again; while nobody wants to know, it does nothing.
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is None or event != "open":
        return
    path, mode, flags = arguments
    if isinstance(path, int) or path is None:
        return
    reads = not set(mode) & set("wax+") if isinstance(mode, str) else not flags & _WRITES
    if reads:
        _opened.add(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100


_WRITES = os.O_WRONLY | os.O_RDWR


def _is_data(path: Path) -> bool:
    text = str(path)
    return (
        not text.startswith(_NO_FILES)
        and path.suffix not in _CODE
        and path.is_file()
        and not is_installed(text)
    )
