"""Worker processes beside one: `OMP_NUM_THREADS=1 python benchmarks/processes.py`.

A 200M-shaped ProteinLM with random weights, one thread a process. Every way starts its processes
anew, as `tape-bench run --devices` does, and fills a cache of its own; what it takes to start
them, measured on a protein each, is told apart. The split network by itself is measured by
`benchmarks/tensor_parallel.py`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from tape_bench.cache.vectors import Cache
from tape_bench.embedding.embeddings import Embeddings, Request
from tape_bench.embedding.executors.local import LocalProcesses
from tape_bench.embedding.executors.session import Session
from tape_bench.models import load_model
from tape_bench.models.controls.untrained import SHAPES, RandomWeights
from tape_bench.models.proteinlm.convert import convert
from tape_bench.speed import synthetic

WAYS = {"1 process": (1, 1), "2 x 1": (2, 1), "1 x 2": (1, 2), "2 x 2": (2, 2)}
"""Groups that share the proteins, and processes of a group that share the network."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=int, default=160)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    proteins = synthetic.proteins(synthetic.lengths(asked.proteins))
    residues = sum(map(len, proteins))
    with tempfile.TemporaryDirectory() as place:
        convert(RandomWeights(SHAPES["proteinlm-200m"], 0), Path(place) / "200m")
        spec = f"proteinlm:{place}/200m"
        print(f"{asked.proteins} proteins, {residues:,} residues, 200M shape, float32\n")
        print("| processes | start | all | residues/s | beside one | largest difference |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        alone, rate_alone = None, 0.0
        for name, (groups, tensor) in WAYS.items():
            start, _ = run(spec, groups, tensor, proteins[:groups])
            total, vectors = run(spec, groups, tensor, proteins)
            rate = residues / (total - start)
            if alone is None:
                alone, rate_alone = vectors, rate
            away = np.abs(vectors - alone).max()
            print(
                f"| {name} | {start:.1f} s | {total:.1f} s | {rate:,.0f} | "
                f"{rate / rate_alone:.2f}x | {away:.1e} |",
                flush=True,
            )


def run(spec: str, groups: int, tensor: int, proteins: list[str]) -> tuple[float, np.ndarray]:
    """Return the seconds that filling an empty cache takes, and the vectors."""
    model = load_model(spec, device="cpu")
    processes = LocalProcesses(spec, {}, groups, tensor, ["cpu"] * (groups * tensor))
    need = Request(tuple(proteins), "mean")
    with tempfile.TemporaryDirectory() as root:
        embeddings = Embeddings(Session(model, processes), Cache.of(model, "float32", Path(root)))
        started = time.perf_counter()
        embeddings.fill([need])
        seconds = time.perf_counter() - started
        cached = embeddings.open(need)
        return seconds, np.stack([cached[protein] for protein in proteins])


if __name__ == "__main__":
    main()
