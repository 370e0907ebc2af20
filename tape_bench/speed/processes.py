"""How much faster several processes are than one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tape_bench.cache.vectors import Cache
from tape_bench.embedding.embeddings import Embeddings, Request
from tape_bench.embedding.executors.session import Session
from tape_bench.leftovers import temporary_folder
from tape_bench.progress import Advance
from tape_bench.speed.measure import Draw


@dataclass(frozen=True)
class Together:
    """What embedding took when several processes shared it."""

    processes: int
    residues: int
    seconds: float
    residues_per_second: float | None
    """Without what it takes to start the processes; None where that is all the time it took."""


def measure_together(
    session: Session, draw: Draw, count: int, progress: Advance | None = None
) -> Together:
    """Embed so many proteins a process, and a quarter of them before.

    Either time holds the start of the processes, so that their difference is the time of three
    quarters without it.

    Args:
        session: a model, and processes that share the work.
        draw: gives proteins.
        count: proteins a process, four at least.
        progress: called after every batch.

    Raises:
        ModelError: a process failed, or died.
        StorageError: the disk is full.
    """
    processes = session.executor.parts
    fewer, more = (draw(max(1, processes * count // share)) for share in (4, 1))
    least, most = (_embed(session, proteins, progress) for proteins in (fewer, more))
    residues = [sum(map(len, set(proteins))) for proteins in (fewer, more)]
    rate = (residues[1] - residues[0]) / (most - least) if most > least else None
    return Together(processes, residues[1], most, rate)


def _embed(session: Session, proteins: Sequence[str], progress: Advance | None) -> float:
    # Nothing is to be found in the cache, and nothing is to stay there.
    with temporary_folder() as root:
        embeddings = Embeddings(session, Cache.of(session.model, "float32", root))
        started = time.perf_counter()
        embeddings.fill([Request(tuple(proteins), "mean")], progress)
        return time.perf_counter() - started
