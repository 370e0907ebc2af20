"""Two processes that share a network, beside one that has it all: speed, and the same values.

    python benchmarks/tensor_parallel.py

The network has the shape of ProteinLM-200M and random weights; float32, one thread a process,
packed batches of up to 2048 tokens. Rank 0 has the whole network, too. Rounds alternate: it runs a
batch alone while rank 1 waits, then both run it together, and medians are shown. Seconds in sums
over the ranks include waiting for the slower one.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import click
import torch
from torch import Tensor, distributed, multiprocessing

from tape_bench.models.controls.untrained import SHAPES, RandomWeights
from tape_bench.models.proteinlm.checkpoint import load_encoder
from tape_bench.models.transformer.encoder import Encoder
from tape_bench.parallel.tensor import TensorParallel

RANKS = 2
BATCHES = {
    "stability, 45 residues": [47] * 43,
    "fluorescence, 237": [239] * 8,
    "mixed, 72 to 500": [502, 417, 330, 262, 204, 151, 108, 74],
    "long, 429 to 500": [502, 490, 463, 431],
}
"""Tokens of the sequences of a batch; two of each are special."""
HEADER = (
    "| batch | tokens | tokens/s alone | together | ratio | in sums | apart | of the largest |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


@dataclass
class Timed:
    """Sums over the ranks, and the seconds they took."""

    ranks: TensorParallel
    seconds: float = 0.0

    def __call__(self, part: Tensor) -> Tensor:
        """Sum a tensor over the ranks."""
        begun = time.perf_counter()
        total = self.ranks.all_reduce(part)
        self.seconds += time.perf_counter() - begun
        return total


@dataclass
class Figures:
    """Seconds a round for one batch, and how far the values of the two ways are apart."""

    tokens: int
    alone: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=list)
    apart: float = 0.0
    largest: float = 0.0


def row(name: str, batches: Sequence[Figures]) -> str:
    """Write the line of one batch, or of several as if they were run one after the other."""
    tokens = sum(batch.tokens for batch in batches)
    alone, together, sums = (
        sum(statistics.median(getattr(batch, what)) for batch in batches)
        for what in ("alone", "together", "sums")
    )
    apart, largest = (
        max(getattr(batch, what) for batch in batches) for what in ("apart", "largest")
    )
    return (
        f"| {name} | {tokens} | {tokens / alone:.0f} | {tokens / together:.0f} "
        f"| {alone / together:.2f} | {sums / together:.0%} "
        f"| {apart:.1e} | {apart / largest:.1e} |"
    )


def clock(encoder: Encoder, lengths: list[int]) -> tuple[Tensor, float]:
    """Run a batch, the same at every call; return its values and the seconds."""
    ids = torch.randint(6, 31, (sum(lengths),), generator=torch.Generator().manual_seed(1))
    begun = time.perf_counter()
    values = encoder.forward_packed(ids, lengths)
    return values, time.perf_counter() - begun


def be_rank(rank: int, meeting: str, rounds: int) -> None:
    """Run all batches as one of the ranks; rank 0 prints the table."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS
    )
    source = RandomWeights(SHAPES["proteinlm-200m"], seed=0)
    ranks = TensorParallel.of()
    sums = Timed(ranks)
    split = load_encoder(
        source, source.config, dtype=torch.float32, parallel=replace(ranks, all_reduce=sums)
    )
    whole = load_encoder(source, source.config, dtype=torch.float32) if rank == 0 else None
    figures = {name: Figures(sum(lengths)) for name, lengths in BATCHES.items()}
    for warm in [False, *[True] * rounds]:
        for name, lengths in BATCHES.items():
            expected, alone = clock(whole, lengths) if whole else (None, 0.0)
            distributed.barrier()
            sums.seconds = 0.0
            values, together = clock(split, lengths)
            if expected is not None and warm:
                batch = figures[name]
                batch.alone.append(alone)
                batch.together.append(together)
                batch.sums.append(sums.seconds)
                batch.apart = max(batch.apart, float((values - expected).abs().max()))
                batch.largest = float(expected.abs().max())
    if rank == 0:
        print(
            f"torch {torch.__version__}, Python {platform.python_version()}; "
            f"medians of {rounds} rounds\n\n{HEADER}"
        )
        for name, batch in figures.items():
            print(row(name, [batch]))
        print(row("all", list(figures.values())))
    distributed.destroy_process_group()


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Alternating rounds to take.")
def main(rounds: int) -> None:
    """Start the ranks, of which the first prints the table."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(be_rank, (str(Path(folder) / "meeting"), rounds), nprocs=RANKS)


if __name__ == "__main__":
    main()
