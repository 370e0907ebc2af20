"""One error is told once, however many processes of a run meet it.

Before they have found each other, all do the same, and the first speaks for all. Afterwards a
fault may be one process's own, on its machine; so each looks whether it has been told already.
"""

from __future__ import annotations

import hashlib
import os
import time
from typing import TYPE_CHECKING

from tape_bench.errors import PeerLostError, TapeBenchError
from tape_bench.parallel.launchers import leads

if TYPE_CHECKING:
    from tape_bench.parallel.processes import World

_LINGER = 3.0
"""Seconds that the holder of the store gives others to look."""

_met: list[World] = []
"""The processes of this run, once they have met."""


def share(world: World) -> None:
    """Tell errors, from now on, as one of processes that have met."""
    _met[:] = [world]


def is_to_be_told(error: TapeBenchError) -> bool:
    """Tell whether it is this process that tells of an error, and not another one of the run."""
    if not _met or _met[0].store is None:
        return leads(os.environ) or isinstance(error, PeerLostError)
    world = _met[0]
    lost = isinstance(error, PeerLostError)
    if world.rank > 0:
        # The first process tells it, if it is a fault of all.
        time.sleep(1)
    try:
        return _is_first(world, error)
    except RuntimeError:
        # The first process held the store, and ended without a word.
        return not lost or world.rank == 1


def _is_first(world: World, error: TapeBenchError) -> bool:
    assert world.store is not None
    told = int(world.store.add("told", 1))
    if not isinstance(error, PeerLostError):
        name = hashlib.sha256(str(error).encode()).hexdigest()
        told = int(world.store.add(f"told/{name}", 1))
    # The loss of another process follows from a fault that is told before, if at all.
    looked, until = world.store.add("looked", 1), time.monotonic() + _LINGER
    while world.holds_store and looked < world.size and time.monotonic() < until:
        time.sleep(0.05)
        looked = world.store.add("looked", 0)
    return told == 1
