"""Where things live: cards, data, caches and results; the only module that knows."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

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
        return Path(given).expanduser()
    return Path(platformdirs.user_data_dir("tape-bench")) / "data"


def cache() -> Path:
    """Return the cache root, safe to delete at any time: TAPE_BENCH_CACHE, or the user's cache."""
    given = os.environ.get("TAPE_BENCH_CACHE")
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("tape-bench"))


def results() -> Path:
    """Return the results root: TAPE_BENCH_OUT, or `results` in the current folder."""
    given = os.environ.get("TAPE_BENCH_OUT")
    return Path(given).expanduser() if given else Path("results")
