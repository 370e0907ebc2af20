"""What may become of a changed file, and what may not."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Prepare = Callable[[Path], None]
"""Writes the whole files of a target into a folder, once."""

Spoil = Callable[[Path, random.Random], None]
"""Changes a copy of them."""

Use = Callable[[Path], str]
"""Uses what was changed, and returns in a word what came of it; any TapeBenchError is fine, too."""


class WrongError(AssertionError):
    """Another answer than the right one, without a word."""


@dataclass(frozen=True)
class Target:
    """One kind of file, and what reads it."""

    prepare: Prepare
    spoil: Spoil
    use: Use
    weight: int = 10
    """How often it is chosen; less for what takes long."""


def same(found: object, expected: object) -> str:
    """See that what was computed is what the whole files give."""
    if found != expected:
        raise WrongError(f"{str(found)[:200]} instead of {str(expected)[:200]}")
    return "right"


def steers_nothing(shown: str) -> None:
    """See that no terminal is steered by what is shown."""
    bad = {
        char for char in shown if (char < " " and char not in "\n\t") or "\x7f" <= char <= "\x9f"
    }
    if bad:
        raise WrongError(f"control characters in what is shown: {sorted(bad)!r}")
