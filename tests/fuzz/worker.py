"""One process that takes changed files in turn, and says of each what came of it."""

from __future__ import annotations

import os
import random
import resource
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from outcomes import Target, WrongError

from tape_bench.errors import TapeBenchError

ADDRESS_SPACE = 12 << 30
"""What a process may map: torch alone maps some gigabytes. It is `MEMORY` that counts."""


def serve(pipe: Any, seed: str, names: list[str], targets: dict[str, Target], begin: int) -> None:
    """Work through the inputs from number `begin` on; tell each before it is begun."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    # Nothing here need outlast a power cut.
    os.fsync = os.fdatasync = lambda handle: None
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    home = Path(tempfile.mkdtemp(prefix="fuzz-"))
    tempfile.tempdir = str(home / "tmp")
    Path(tempfile.tempdir).mkdir()
    try:
        prepared: dict[str, Path] = {}
        for number in range(begin, len(names)):
            name = names[number]
            pipe.send((number, "begun"))
            pipe.send((number, _one(home, prepared, targets[name], name, f"{seed}/{number}")))
    finally:
        shutil.rmtree(home, ignore_errors=True)
        pipe.close()
        os._exit(0)


def _one(
    home: Path, prepared: dict[str, Path], target: Target, name: str, seed: str
) -> tuple[str, str]:
    if name not in prepared:
        prepared[name] = home / f"whole-{len(prepared)}"
        prepared[name].mkdir()
        with _cache_at(prepared[name] / "cache"):
            target.prepare(prepared[name])
    folder = home / "changed"
    shutil.copytree(prepared[name], folder)
    begun = time.monotonic()
    try:
        with _cache_at(folder / "cache"):
            target.spoil(folder, random.Random(seed))
            return target.use(folder), f"{time.monotonic() - begun:.3f}"
    except TapeBenchError as error:
        shown = str(error)
        if any(char < " " and char not in "\n\t" for char in shown):
            return "wrong", f"an error that steers the terminal: {shown!r}"
        if len(shown) > 20_000:
            return "wrong", f"an error of {len(shown)} letters"
        return "error", type(error).__name__
    except WrongError as error:
        return "wrong", str(error)
    except BaseException:
        return "foreign", traceback.format_exc()[-1500:]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _cache_at(place: Path) -> Iterator[None]:
    os.environ["TAPE_BENCH_CACHE"] = str(place)
    yield
