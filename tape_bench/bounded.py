"""JSON and TOML from files that anybody may have written: bounded before they are believed.

Python's readers take numbers of any number of digits and nest until the stack ends. Here, what is
larger or deeper than such files ever are is a fault of the file like any other.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

DEPTH = 64
"""Lists and objects within each other, at most."""

DIGITS = 100
"""Digits of a whole number, at most."""

SMALL = 1 << 24
"""Bytes of a file that describes something: a card, a configuration, a record of a run."""


def read_text(path: Path, most: int = SMALL) -> str:
    """Read a file of text.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger than `most` bytes, or (UnicodeDecodeError) no UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"more than {most} bytes, which no such file has")
    return content.decode("utf-8")


def parse_json(text: str) -> Any:
    """Read JSON whose numbers and depth are within bounds.

    Raises:
        ValueError: it is not; json.JSONDecodeError where it is no JSON at all.
    """
    try:
        found = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _check_depth(found)
    return found


def parse_toml(text: str) -> dict[str, Any]:
    """Read TOML whose depth is within bounds.

    Raises:
        ValueError: it is not, or no TOML.
    """
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_too_deep()) from None
    _check_depth(found)
    return found


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _check_depth(found: Any) -> None:
    level = [found]
    for _ in range(DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(_too_deep())


def _too_deep() -> str:
    return f"nested more than {DEPTH} deep"
