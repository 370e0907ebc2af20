"""What keeping vectors on disk costs beside computing them: the cache should not be the limit.

    python -m benchmarks.gpu.cache [--shape 3b] [--rehearse]

Proteins are embedded with their vectors left in memory, then written to a cache on the local disk
and to one in memory (/dev/shm): one vector a protein at 45 residues, one a residue at TAPE's
lengths mixed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.gpu.common import Session
from benchmarks.networks import CONFIGS, network
from tape_bench.cache.precision import stored_as
from tape_bench.cache.vectors import Cache
from tape_bench.embedding.fill import compute
from tape_bench.embedding.forward import entries_of
from tape_bench.embedding.in_memory import represent
from tape_bench.models.embedder import Pool
from tape_bench.models.proteinlm import ProteinLM
from tape_bench.speed import synthetic

CASES: dict[Pool, str] = {"mean": "45", "residues": "tape"}


def without(model: ProteinLM, proteins: Sequence[str], pool: Pool) -> float:
    """Return the seconds of embedding alone."""
    started = time.perf_counter()
    represent(model, proteins, pool).close()
    return time.perf_counter() - started


def within(model: ProteinLM, proteins: Sequence[str], pool: Pool, root: str) -> float:
    """Return the seconds of embedding into a new cache."""
    wanted = {one: frozenset([pool]) for one in entries_of(proteins, None).values()}
    with tempfile.TemporaryDirectory(dir=root) as folder:
        cache = Cache(Path(folder), model.identity.hidden_size, stored_as(model.identity, None))
        started = time.perf_counter()
        compute(model, wanted, cache)
        return time.perf_counter() - started


def compare(session: Session, shape: str) -> None:
    """Print what each place costs."""
    model = network(CONFIGS[shape], session.dtype, session.device)
    places = {"local disk": tempfile.gettempdir()}
    if Path("/dev/shm").is_dir() and shutil.disk_usage("/dev/shm").free > 1 << 32:
        places["/dev/shm"] = "/dev/shm"
    for pool, of in CASES.items():
        residues = {"3b": 400_000, "200m": 2_000_000}.get(shape, 4_000)
        residues //= 1 if pool == "mean" else 2
        typical = synthetic.lengths(1000, of)
        count = residues * len(typical) // sum(typical) + 1
        proteins = synthetic.proteins(synthetic.lengths(count, of))
        total = sum(map(len, proteins))
        session.need(10)
        # Residues of this many proteins lie in memory or in a file; pooled ones show the model.
        without(model, proteins, "mean")
        alone = min(without(model, proteins, "mean") for _ in range(2))
        print(f"| {shape} | {of} | mean, kept nowhere | {total / alone:,.0f} | 1.00 |", flush=True)
        for place, root in places.items():
            session.need(5)
            taken = min(within(model, proteins, pool, root) for _ in range(2))
            rate, share = total / taken, alone / taken
            print(f"| {shape} | {of} | {pool}, {place} | {rate:,.0f} | {share:.2f} |", flush=True)


@click.command()
@click.option("--shape", "shapes", multiple=True, default=["3b", "200m"], show_default=True)
@click.option("--rehearse", is_flag=True, help="The same on a CPU, at tiny shapes.")
@click.option("--budget", type=float, default=90, show_default=True, help="Seconds.")
def main(shapes: list[str], rehearse: bool, budget: float) -> None:
    """Measure embedding into a cache."""
    session = Session("Embedding into a cache", rehearse, budget)
    session.begin()
    print("| model | lengths | vectors | residues/s | of the model alone |")
    print("|---|---|---|---:|---:|", flush=True)
    for shape in ["tiny"] if rehearse else shapes:
        with session.part(shape):
            compare(session, shape)
    session.end()


if __name__ == "__main__":
    main()
