"""Two processes that share a network on one card, beside one that has it all: the same values?

    python -m benchmarks.gpu.tensor_parallel [--shape 3b] [--rehearse]

Over gloo, which lets two processes use one card where NCCL refuses; so this says whether values are
right, and nothing of speed.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import torch
from torch import distributed, multiprocessing

from benchmarks.gpu.common import Session
from benchmarks.networks import CONFIGS, network
from tape_bench.parallel.tensor import TensorParallel
from tape_bench.speed import synthetic

RANKS = 2


def be_rank(rank: int, meeting: str, shape: str, session: Session) -> None:
    """Embed as one of the ranks; rank 0 compares with the whole network."""
    backend = "gloo" if session.rehearse else "cpu:gloo,cuda:gloo"
    distributed.init_process_group(
        backend, init_method=f"file://{meeting}", rank=rank, world_size=RANKS
    )
    proteins = synthetic.proteins([45, 45, 100, 237, 30] if session.rehearse else
                                 [45] * 50 + [128, 200, 237, 500, 1000])  # fmt: skip
    config, dtype, device = CONFIGS[shape], session.dtype, session.device
    split = network(config, dtype, device, TensorParallel.of()).embed(proteins, "mean")
    if rank == 0:
        whole = network(config, dtype, device).embed(proteins, "mean")
        exact = network(config, torch.float32, device).embed(proteins, "mean")
        apart = max(error(one, other) for one, other in zip(split, whole, strict=True))
        rounded = max(error(one, other) for one, other in zip(whole, exact, strict=True))
        print(f"| {shape} | {len(proteins)} | {apart:.1e} | {rounded:.1e} |", flush=True)
        if apart > max(2 * rounded, 1e-5):
            raise SystemExit("two ranks are further from one than half precision is from float32")
    distributed.barrier()
    distributed.destroy_process_group()


def error(one: object, other: object) -> float:
    """Return how far two vectors are apart, relative."""
    a, b = torch.as_tensor(one), torch.as_tensor(other)
    return float((a - b).norm() / b.norm())


@click.command()
@click.option("--shape", "shapes", multiple=True, default=["200m", "3b"], show_default=True)
@click.option("--rehearse", is_flag=True, help="The same on a CPU, at tiny shapes.")
@click.option("--budget", type=float, default=60, show_default=True, help="Seconds.")
def main(shapes: list[str], rehearse: bool, budget: float) -> None:
    """Start the ranks."""
    session = Session("Two ranks on one card", rehearse, budget)
    session.begin()
    print("| model | proteins | two ranks against one | one against float32 |")
    print("|---|---:|---:|---:|", flush=True)
    for shape in ["tiny"] if rehearse else shapes:
        with session.part(shape), tempfile.TemporaryDirectory() as folder:
            session.need(15)
            meeting = str(Path(folder) / "meeting")
            multiprocessing.spawn(be_rank, (meeting, shape, session), nprocs=RANKS)
    session.end()


if __name__ == "__main__":
    main()
