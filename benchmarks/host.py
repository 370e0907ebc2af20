"""What the host does for a launch, with the network left out: what a GPU would wait for.

    OMP_NUM_THREADS=1 python -m benchmarks.host

The encoder is replaced by one that answers at once, so what is timed is all that Python and numpy
do: laying batches out, taking vectors apart, looking at them, storing them in
memory or writing them to a cache on disk. Launches are as large as on a GPU.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from benchmarks.networks import CONFIGS, network
from tape_bench import kernels
from tape_bench.cache.vectors import Cache
from tape_bench.embedding.fill import compute
from tape_bench.embedding.forward import entries_of
from tape_bench.embedding.in_memory import represent
from tape_bench.models.embedder import Pool
from tape_bench.models.packed import Layout
from tape_bench.models.proteinlm import ProteinLM, adapter
from tape_bench.speed import synthetic

TOKENS = 16_384
CASES: tuple[tuple[str, str, Pool, int], ...] = (
    ("200m", "45", "mean", 40),
    ("200m", "tape", "mean", 40),
    ("3b", "45", "mean", 20),
    ("200m", "tape", "residues", 6),
    ("3b", "tape", "residues", 3),
)
"""Shape, lengths, pooling, and launches in a round."""


class Instant(nn.Module):
    """An encoder that answers at once."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.rows = torch.randn(2 * TOKENS, hidden)

    def forward_laid_out(self, layout: Layout, depth: int | None) -> Tensor:
        """Give the same numbers whatever is asked."""
        return self.rows[: len(layout.ids)]


def instant(shape: str) -> ProteinLM:
    """Make a model whose network takes no time."""
    model = network(CONFIGS[shape], torch.float32, torch.device("cpu"))
    vars(model)["encoder"] = Instant(model.config.hidden)
    return model


def seconds(run: Callable[[], object], rounds: int) -> float:
    """Return the median time of a few runs, after one that does not count."""
    run()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(shape: str, of: str, pool: Pool, launches: int, rounds: int) -> str:
    """Time one case, and return its line."""
    model = instant(shape)
    typical = synthetic.lengths(1000, of)
    count = launches * TOKENS * len(typical) // (sum(typical) + len(typical))
    proteins = list(dict.fromkeys(synthetic.proteins(synthetic.lengths(count, of))))
    in_memory = seconds(
        lambda: represent(model, proteins, pool, tokens_per_batch=TOKENS).close(), rounds
    )
    on_disk = seconds(lambda: _write(model, proteins, pool), rounds)
    each = 1e6 / len(proteins)
    per_launch = 1e3 / launches
    return (
        f"| {shape} | {of} | {pool} | {in_memory * each:.1f} | {in_memory * per_launch:.2f} "
        f"| {on_disk * each:.1f} | {on_disk * per_launch:.1f} |"
    )


def _write(model: ProteinLM, proteins: Sequence[str], pool: Pool) -> None:
    wanted = {one: frozenset([pool]) for one in entries_of(proteins, None).values()}
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder), model.identity.hidden_size, "float16")
        compute(model, wanted, cache, TOKENS)


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--rehearse", is_flag=True, help="One small case.")
def main(rounds: int, rehearse: bool) -> None:
    """Print the table."""
    # What the GPU does for each launch would be most of the time here.
    adapter.finite_tokens = lambda rows: torch.ones(len(rows), dtype=torch.bool)
    kernels.segment_mean = lambda rows, offsets, leading, trailing: rows[: len(offsets) - 1]
    print("| shape | lengths | vectors | us a protein | ms a launch ", end="")
    print("| to a cache: us a protein | ms a launch |\n|---|---|---|---:|---:|---:|---:|")
    for shape, of, pool, launches in (("tiny", "45", "mean", 1),) if rehearse else CASES:
        print(measure(shape, of, pool, launches, 1 if rehearse else rounds), flush=True)


if __name__ == "__main__":
    main()
