"""How many tokens a launch should have: rates by size, mixed lengths and short ones.

python -m benchmarks.gpu.launches [--shape 200m] [--rehearse]
"""

from __future__ import annotations

import time

import click

from benchmarks.gpu.common import Session
from benchmarks.networks import CONFIGS, network
from tape_bench.embedding.in_memory import represent
from tape_bench.speed import synthetic

SIZES = (16_384, 32_768, 65_536, 98_304)


def sweep(session: Session, shape: str, sizes: tuple[int, ...]) -> None:
    """Time embedding at several sizes of a launch."""
    model = network(CONFIGS[shape], session.dtype, session.device)
    residues = 2_000 if session.rehearse else 16_000_000 if shape == "200m" else 3_000_000
    for of in ("tape", "45"):
        typical = synthetic.lengths(1000, of)
        proteins = synthetic.proteins(
            synthetic.lengths(residues * len(typical) // sum(typical) + 1, of)
        )
        found = {}
        for tokens in sizes:
            session.need(8)
            taken = []
            for _ in range(3):
                started = time.perf_counter()
                represent(model, proteins, "mean", tokens_per_batch=tokens).close()
                taken.append(time.perf_counter() - started)
            found[tokens] = sum(map(len, set(proteins))) / min(taken[1:])
            print(f"| {shape} | {of} | {tokens:,} | {found[tokens]:,.0f} |", flush=True)
        best = max(found.values())
        chosen = next(tokens for tokens in sizes if found[tokens] >= 0.98 * best)
        print(f"| {shape} | {of} | smallest within 2 % of the best: {chosen:,} | |", flush=True)


@click.command()
@click.option("--shape", "shapes", multiple=True, default=["200m", "650m"], show_default=True)
@click.option("--rehearse", is_flag=True, help="The same on a CPU, at tiny shapes.")
@click.option("--budget", type=float, default=60, show_default=True, help="Seconds.")
def main(shapes: list[str], rehearse: bool, budget: float) -> None:
    """Sweep the size of a launch."""
    session = Session("Tokens of a launch", rehearse, budget)
    session.begin()
    print("| model | lengths | tokens a launch | residues/s |\n|---|---|---:|---:|", flush=True)
    for shape in ["tiny"] if rehearse else shapes:
        with session.part(shape):
            sweep(session, shape, (512, 1024) if rehearse else SIZES)
    session.end()


if __name__ == "__main__":
    main()
