"""How far the headline score of each default head moves between seeds, threads and processors.

    python benchmarks/heads_stability.py DATA > benchmarks/heads_stability.md

DATA is a folder of TAPE's tarballs. Every cell is a process of its own. Other processors are
stood in for by the instruction sets that torch, MKL and OpenBLAS are told to keep to. A solved
head does not read the seed; `--seeds` runs it with three nonetheless.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import click

from tape_bench import registry

SETTINGS = {
    "1 thread": {},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "SSE": {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
            "OPENBLAS_CORETYPE": "Nehalem"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
             "OPENBLAS_CORETYPE": "Haswell"},
    "AVX512": {"ATEN_CPU_CAPABILITY": "avx512", "MKL_ENABLE_INSTRUCTIONS": "AVX512",
               "OPENBLAS_CORETYPE": "SkylakeX"},
}  # fmt: skip


def measure(task: str, model: str, head: str, seeds: str, data: str) -> None:
    from tape_bench import load_model
    from tape_bench.embedding.in_memory import represent
    from tape_bench.protocols.probe.train import train
    from tape_bench.run.plan import plan
    from tape_bench.run.settings import Settings
    from tape_bench.scoring.metrics import score

    embedder = load_model(model)
    card = registry.task(task)
    settings = Settings.of({"data": data, "splits": (card.headline,), "head": head or None})
    planned = plan(card, embedder.identity, settings)
    examples = planned.examples()
    target = card.targets[0]
    carrying = {name: split for name, split in examples.items() if split.has(target.name)}
    sequences = [s for split in carrying.values() for s in split.sequences]
    definition = card.primary.split(".", 1)[1]
    with represent(embedder, sequences, planned.steps.pool) as known:
        for seed in map(int, seeds.split(",")):
            begun = time.process_time()
            trained = train(planned.steps, target, carrying, known, seed)
            value = score(definition, trained.predictions[card.headline]).value
            click.echo(f"{value!r} {time.process_time() - begun}")


def figures(
    task: str, model: str, head: str, seeds: str, data: str, setting: dict[str, str]
) -> list[tuple[float, float]]:
    """Scores by seed, and the processor seconds each took."""
    command = [sys.executable, __file__, "--measure", task, model, head, seeds, data]
    env = os.environ | {"OMP_NUM_THREADS": "1"} | setting
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = [told.split() for told in done.stdout.splitlines()]
    return [(float(value), float(seconds)) for value, seconds in found]


@click.command()
@click.argument("data")
@click.option("--task", "tasks", multiple=True, default=registry.task_names())
@click.option("--model", "models", multiple=True, default=("onehot", "composition", "positional"))
@click.option("--head", default="", help="A head that is not the default.")
@click.option("--seeds", default="0,1,2", help="Seeds on one thread.")
def main(data: str, tasks: tuple[str, ...], models: tuple[str, ...], head: str, seeds: str) -> None:
    several = [f"seed {seed}" for seed in seeds.split(",")]
    titles = ["model", "task", *several, *list(SETTINGS)[1:], "largest change", "s"]
    click.echo("| " + " | ".join(titles) + " |")
    click.echo("| --- | --- " + "| ---: " * (len(titles) - 2) + "|")
    for model in models:
        for task in tasks:
            if model == "positional" and registry.task(task).kind != "sequence_value":
                continue
            found = figures(task, model, head, seeds, data, {})
            for setting in list(SETTINGS.values())[1:]:
                found += figures(task, model, head, "0", data, setting)
            values = [value for value, _ in found]
            cells = [model, task, *(f"{value:.6f}" for value in values)]
            cells += [f"{max(values) - min(values):.6f}", f"{found[0][1]:.1f}"]
            click.echo("| " + " | ".join(cells) + " |")
            sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        main()
