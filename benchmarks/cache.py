"""A second run, from the cache, beside the first: `python benchmarks/cache.py`.

A 200M-shaped ProteinLM with random weights represents proteins of the lengths that TAPE's have,
one vector a residue for a quarter of them and one a protein for the rest, as its tasks ask for.
The second run opens the cache anew, as another process would, and reads every vector. Rates are
those that `tape-bench bench` measures, beside copying within memory in the same run.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from tape_bench.cache.precision import KINDS, Stored
from tape_bench.cache.vectors import Cache
from tape_bench.embedding.embeddings import Embeddings, Request
from tape_bench.embedding.executors.session import Session
from tape_bench.models import load_model
from tape_bench.speed import synthetic
from tape_bench.speed.cache_rates import cache_rates
from tape_bench.speed.machine import copy_rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=160)
    asked = parser.parse_args()
    model = load_model("random:proteinlm-200m")
    proteins = synthetic.proteins(synthetic.lengths(asked.proteins))
    needs = [
        Request(tuple(proteins[::4]), "residues"),
        Request(tuple(p for index, p in enumerate(proteins) if index % 4), "mean"),
    ]
    model.embed(proteins[:1])  # the weights are read
    with tempfile.TemporaryDirectory() as root:
        first = seconds(model, needs, "float32", root)
        second = min(seconds(model, needs, "float32", root) for _ in range(3))
    residues = sum(map(len, proteins))
    print(f"{asked.proteins} proteins, {residues:,} residues, 200M shape, float32\n")
    print("| run | seconds | |\n| --- | ---: | ---: |")
    print(f"| first | {first:.2f} | |")
    print(f"| second | {second:.4f} | {first / second:,.0f} times faster |\n")
    print("| kept in | write | read | read beside copying in memory |")
    print("| --- | ---: | ---: | ---: |")
    lengths = synthetic.lengths(500)
    for stored in KINDS:
        with tempfile.TemporaryDirectory() as root:
            rates = cache_rates(Path(root), model.identity.hidden_size, stored, lengths)
        write, read = rates.write_bytes_per_second, rates.read_bytes_per_second
        share = read / copy_rate()
        print(f"| {stored} | {write / 1e9:.2f} GB/s | {read / 1e9:.2f} GB/s | {share:.0%} |")


def seconds(model: object, needs: list[Request], stored: Stored, root: str) -> float:
    """Return what a run's library takes to be filled, opened and read to the end."""
    started = time.perf_counter()
    embeddings = Embeddings(Session.of(model), Cache.of(model, stored, Path(root)))
    embeddings.fill(needs)
    for need in needs:
        with embeddings.open(need) as cached:
            for sequence in cached:
                np.add.reduce(cached[sequence], axis=None)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
