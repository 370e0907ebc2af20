"""Where things live: cards, data, caches and results; the only module that knows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from tape_bench.errors import UsageError

_PACKAGE = Path(__file__).resolve().parent


def cards(folder: str) -> Path:
    """Return the folder of `tasks` or `baselines` declarations.

    The wheel carries them inside the package; a checkout keeps them at its top level.
    """
    packaged = _PACKAGE / "_cards" / folder
    return packaged if packaged.is_dir() else _PACKAGE.parent / folder


def data() -> Path:
    """Return the data root that `data fetch` fills: TAPE_BENCH_DATA, or the user's data folder."""
    given = os.environ.get("TAPE_BENCH_DATA")
    if given and given != "sample":
        return expand(given)
    return _of_user(platformdirs.user_data_dir, "TAPE_BENCH_DATA") / "data"


def cache() -> Path:
    """Return the cache root, safe to delete at any time: TAPE_BENCH_CACHE, or the user's cache."""
    given = os.environ.get("TAPE_BENCH_CACHE")
    return expand(given) if given else _of_user(platformdirs.user_cache_dir, "TAPE_BENCH_CACHE")


def results() -> Path:
    """Return the results root: TAPE_BENCH_OUT, or `results` in the current folder."""
    given = os.environ.get("TAPE_BENCH_OUT")
    return expand(given) if given else Path("results")


def trials() -> Path:
    """Return the root of trial runs: TAPE_BENCH_OUT, or `trials` in the current folder."""
    return results() if os.environ.get("TAPE_BENCH_OUT") else Path("trials")


def expand(place: str | Path) -> Path:
    """Return a path with `~` and `~user` replaced by the folder they stand for.

    Raises:
        UsageError: there is no such user, or this one has no home.
    """
    try:
        return Path(place).expanduser()
    except RuntimeError:
        raise UsageError(
            "nobody knows the home folder this path begins with",
            where=str(place),
            fix="write the path in full, or set HOME",
        ) from None


def _of_user(folder: Callable[[str], str], variable: str) -> Path:
    try:
        return Path(folder("tape-bench"))
    except RuntimeError:
        # A container's user without an entry in passwd.
        raise UsageError(
            "this user has no home folder to keep data and caches in",
            fix=f"set HOME or {variable}",
        ) from None
