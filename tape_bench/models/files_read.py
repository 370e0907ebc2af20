"""Which files Python code reads while it runs: tables and the like that a model looks things up in.

What a model holds is found in its values; what it keeps elsewhere, or opens each time it is asked,
can only be seen when it is opened: while it is imported and made, and while it is asked. Of what a
library opens in C or Rust, databases, libraries and programs are told of by Python, and on Linux
what is still open or mapped afterwards is seen; the rest does not show.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tape_bench import paths
from tape_bench.models.installed import is_installed

_NO_FILES = ("/proc/", "/sys/", "/dev/")

_opened: set[str] | None = None
"""Files opened for reading, while somebody wants to know; None while nobody does."""


@contextlib.contextmanager
def files_read() -> Iterator[list[Path]]:
    """Collect the files that are opened for reading meanwhile; the list is filled at the end.

    What belongs to installed packages, and what this program keeps for itself, are left out.
    """
    global _opened
    _hook()
    found: list[Path] = []
    opened: set[str] = set()
    before = _held()
    _opened = opened
    try:
        yield found
    finally:
        _opened = None
        opened |= _held() - before
        kept = paths.cache().absolute()
        sources = {_source(path) for path in opened}
        found += sorted(p for p in sources if _counts(p) and not p.is_relative_to(kept))


_made_from: list[tuple[Callable[[], object], list[Path]]] = []
"""Models, held weakly where they can be, and the files read while they were made."""


def made_from(model: object, files: Iterable[Path] | None = None) -> list[Path]:
    """Return the files read while a model was made; with `files`, keep them for later."""
    if files is not None:
        try:
            told: Callable[[], object] = weakref.ref(model)
        except TypeError:
            told = lambda: model  # noqa: E731
        _made_from[:] = [one for one in _made_from if one[0]() is not None]
        _made_from.append((told, list(files)))
    return [file for told, read in _made_from if told() is model for file in read]


@cache
def _hook() -> None:
    # It cannot be taken away again; while nobody wants to know, it does nothing.
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is None or event not in _EVENTS:
        return
    path = arguments[0]
    if event == "open":
        mode, flags = arguments[1:3]
        # What is read and written may be a database; what is only written is no table.
        if set(mode) & set("wax") if isinstance(mode, str) else flags & _WRITES:
            return
    if isinstance(path, (str, bytes, os.PathLike)):
        _opened.add(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100


_EVENTS = {"open", "sqlite3.connect", "ctypes.dlopen", "subprocess.Popen"}
_WRITES = os.O_WRONLY | os.O_RDWR


def _held() -> set[str]:
    """Return the files that are open for reading or mapped, where the system tells (Linux)."""
    held: set[str] = set()
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
            _, rights, *rest = line.split(maxsplit=5)
            if "w" not in rights and len(rest) == 4 and ".so" not in Path(rest[3]).name:
                held.add(rest[3])
    with contextlib.suppress(OSError):
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError, IndexError, ValueError):
                told = Path("/proc/self/fdinfo", number).read_text().split("flags:")[1].split()[0]
                if not int(told, 8) & _WRITES:
                    held.add(str(Path("/proc/self/fd", number).readlink()))
    return {path for path in held if path.startswith("/")}


def _source(path: str) -> Path:
    """Return a file, and of what Python has compiled and kept the source."""
    if path.endswith(".pyc"):
        with contextlib.suppress(ValueError):
            return Path(importlib.util.source_from_cache(path))
    return Path(path)


def _counts(path: Path) -> bool:
    text = str(path)
    if text.startswith(_NO_FILES) or not path.name:
        return False
    # Asked once a folder: a large library is thousands of files.
    return not is_installed(str(path.with_name("_"))) and path.is_file()
