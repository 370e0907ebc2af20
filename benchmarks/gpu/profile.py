"""Where a launch's time goes: kernels, and gaps between them.

    python -m benchmarks.gpu.profile --shape 3b [--rehearse]

A few launches of mixed lengths under torch's profiler, after as many that do not count.
"""

from __future__ import annotations

import time
from collections import defaultdict

import click
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.common import Session
from benchmarks.networks import CONFIGS, network
from tape_bench.embedding.in_memory import represent
from tape_bench.speed import synthetic

GAP = 50
"""Microseconds without a kernel that are worth a line."""


def kinds(name: str) -> str:
    """Sort a kernel by its name."""
    lower = name.lower()
    for part, kind in (
        ("flash", "attention"), ("_attention", "attention"), ("layer_norm", "layer norms"),
        ("gelu", "GELU"), ("segment", "pooling"), ("gemm", "products"), ("nvjet", "products"),
        ("cutlass", "products"), ("memcpy", "copies"), ("memset", "copies"),
    ):  # fmt: skip
        if part in lower:
            return kind
    return "other"


def look(session: Session, shape: str, proteins: int, length: str) -> None:
    """Profile embedding so many proteins."""
    model = network(CONFIGS[shape], session.dtype, session.device)
    drawn = synthetic.proteins(synthetic.lengths(proteins, length))
    for _ in range(2):
        represent(model, drawn, "mean").close()
    activities = [ProfilerActivity.CPU] + ([] if session.rehearse else [ProfilerActivity.CUDA])
    with profile(activities=activities) as traced:
        started = time.perf_counter()
        launched = represent(model, drawn, "mean").launched
        wall = (time.perf_counter() - started) * 1e6
    gpu = sorted(
        (event.time_range.start, event.time_range.end, event.name)
        for event in traced.events()
        if event.device_type == torch.autograd.DeviceType.CUDA
    )
    print(f"\n## {shape}, {length}: {proteins} proteins, {launched.launches} launches\n")
    if not gpu:
        print("(a CPU has no kernels to look at)")
        return
    spent: dict[str, float] = defaultdict(float)
    each: dict[str, list[float]] = defaultdict(list)
    busy, until, gaps = 0.0, gpu[0][0], []
    for start, end, name in gpu:
        spent[kinds(name)] += end - start
        each[name].append(end - start)
        if start - until > GAP:
            gaps.append((start - until, name))
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    span = until - gpu[0][0]
    print(f"wall {wall / 1e3:.1f} ms under the profiler, first kernel to last {span / 1e3:.1f} ms")
    idle = sum(gap for gap, _ in gaps) / 1e3
    print(f"busy {busy / span:.1%}; gaps over {GAP} us: {len(gaps)}, {idle:.2f} ms")
    for gap, name in sorted(gaps, reverse=True)[:6]:
        print(f"- {gap:.0f} us before {name[:80]}")
    print("\n| kind | ms | share |\n|---|---:|---:|")
    for kind, time_spent in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"| {kind} | {time_spent / 1e3:.2f} | {time_spent / busy:.1%} |")
    print("\n| kernel | calls | us each | ms |\n|---|---:|---:|---:|")
    for name, times in sorted(each.items(), key=lambda item: -sum(item[1]))[:14]:
        print(
            f"| {name[:90].replace('|', '/')} | {len(times)} | {sum(times) / len(times):.1f} "
            f"| {sum(times) / 1e3:.2f} |"
        )


@click.command()
@click.option("--shape", "shapes", multiple=True, default=["3b", "200m"], show_default=True)
@click.option("--rehearse", is_flag=True, help="The same on a CPU, at tiny shapes.")
@click.option("--budget", type=float, default=120, show_default=True, help="Seconds.")
def main(shapes: list[str], rehearse: bool, budget: float) -> None:
    """Profile launches."""
    session = Session("Where a launch's time goes", rehearse, budget)
    session.begin()
    for shape in ["tiny"] if rehearse else shapes:
        for length in ("tape", "45"):
            with session.part(f"{shape}, {length}"):
                session.need(15)
                look(session, shape, 8 if rehearse else 600 if length == "tape" else 1400, length)
    session.end()


if __name__ == "__main__":
    main()
