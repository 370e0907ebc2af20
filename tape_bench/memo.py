"""Files the program leaves for itself, read so that any fault in them means: do it again.

Nobody else writes them, so there is nothing to complain of to anybody. A disk that filled up, a
machine that went down, a flipped bit or another release leave a file that is cut short, empty,
of another shape or of another content; whatever it is, it is as good as not there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tape_bench.atomic import replace
from tape_bench.bounded import parse_json, read_text

Found = TypeVar("Found")

_LARGEST = 1 << 28
"""Bytes of such a file."""


def attempt(read: Callable[[], Found]) -> Found | None:
    """Return what `read` makes of a file of our own, or None where anything at all is wrong."""
    # Cut short, nested a thousand deep, of other types, not text: no list of them is complete.
    try:
        return read()
    except Exception:
        return None


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write what JSON can hold, sealed with its digest; whole or not at all.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sealed = json.dumps({"content": content, "sha256": _digest(content)}, indent=1)
    replace(path, lambda temporary: temporary.write_text(sealed, encoding="utf-8"))


def read(path: Path) -> dict[str, Any] | None:
    """Return what `write` wrote, or None where it is not there, not whole or not ours."""

    def look() -> dict[str, Any]:
        sealed = parse_json(read_text(path, _LARGEST))
        content: dict[str, Any] = sealed["content"]
        if not isinstance(content, dict) or _digest(content) != sealed["sha256"]:
            raise ValueError("not what was written")
        return content

    return attempt(look)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
