"""Fine-tuning beside transformers' own Trainer: the same model, proteins, batches and optimiser.

    OMP_NUM_THREADS=1 python -m benchmarks.finetune              # 8M and 35M, some twenty minutes
    python -m benchmarks.finetune --shape tiny --proteins 8 --rounds 1

A random ESM-2 learns a value a protein, all weights moving, in float32 by AdamW, 16 proteins a
step.
The proteins are random, as long as those of TAPE's five sets mixed. One round is one epoch in a
process of its own, so that its peak of memory is its own; rounds of the ways alternate, and what
stands before the first step counts for nobody.

packed    `run hf:FOLDER --protocol finetune`
trainer   `transformers.Trainer` on `EsmForSequenceClassification`, batches padded to their longest
grouped   the same with `train_sampling_strategy="group_by_length"`
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.hub import SHAPES, folder_of
from tape_bench import registry
from tape_bench.data.columns import build
from tape_bench.data.examples import Split
from tape_bench.data.records import check
from tape_bench.models.huggingface.loading import load
from tape_bench.protocols.finetune.plan import Finetune
from tape_bench.protocols.finetune.train import Training
from tape_bench.results import provenance
from tape_bench.speed import synthetic

BATCH = 16
WAYS = ("packed", "trainer", "grouped")


def material(count: int) -> tuple[list[str], list[float]]:
    """Return proteins and what they are worth: the share of their alanines."""
    proteins = synthetic.proteins(synthetic.lengths(count))
    np.random.default_rng(0).shuffle(proteins)
    return proteins, [protein.count("A") / len(protein) for protein in proteins]


def packed(folder: Path, proteins: list[str], values: list[float]) -> float:
    """Train an epoch by this package; return the seconds of its steps."""
    card = registry.task("stability")
    raw = [{"primary": p, "stability_score": [v]} for p, v in zip(proteins, values, strict=True)]
    columns = build([check(one, card, "here") for one in raw], card.kind, "here")
    split = Split("train", card, columns, columns.digest, len(columns))
    model = load(str(folder), dtype="float32", device="cpu")
    plan = Finetune(batch=BATCH, epochs=1, warmup=0.0).plan(card, model.identity, (0,))
    training = Training(plan, card.targets[0], split, split.take([0]), model.to_train(), 0)
    start = time.perf_counter()
    for rows in np.array_split(np.arange(len(proteins)), max(1, len(proteins) // BATCH)):
        training._step(rows.tolist())
    return time.perf_counter() - start


def trainer(folder: Path, proteins: list[str], values: list[float], grouped: bool) -> float:
    """Train an epoch by the library; return the seconds of its steps."""
    import transformers

    tokenizer = transformers.EsmTokenizer.from_pretrained(folder)
    network = transformers.EsmForSequenceClassification.from_pretrained(
        folder, num_labels=1, dtype=torch.float32, attn_implementation="sdpa"
    )
    rows: list[dict[str, Any]] = [
        {**tokenizer(protein), "labels": value}
        for protein, value in zip(proteins, values, strict=True)
    ]
    with tempfile.TemporaryDirectory() as place:
        settings = transformers.TrainingArguments(
            place,
            per_device_train_batch_size=BATCH,
            num_train_epochs=1,
            learning_rate=1e-4,
            weight_decay=0.01,
            max_grad_norm=1.0,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            **({"train_sampling_strategy": "group_by_length"} if grouped else {}),
        )
        done = transformers.Trainer(
            network,
            settings,
            train_dataset=rows,  # type: ignore[arg-type]
            data_collator=transformers.DataCollatorWithPadding(tokenizer),
        )
        start = time.perf_counter()
        done.train()
        return time.perf_counter() - start


def one(way: str, shape: str, count: int) -> tuple[float, float]:
    """Measure one round in a process of its own: seconds, and gigabytes at most."""
    command = [sys.executable, "-m", "benchmarks.finetune", "--only", way]
    asked = [*command, "--shape", shape, "--proteins", str(count)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, peak = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, peak


@click.command(help=__doc__)
@click.option("--shape", "shapes", type=click.Choice(list(SHAPES)), multiple=True)
@click.option("--proteins", "count", default=96, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--only", type=click.Choice(WAYS), hidden=True)
def main(shapes: tuple[str, ...], count: int, rounds: int, only: str | None) -> None:
    """Print a table, one line a shape and way."""
    proteins, values = material(count)
    if only:
        with tempfile.TemporaryDirectory() as place:
            folder = folder_of(shapes[0], Path(place))
            if only == "packed":
                seconds = packed(folder, proteins, values)
            else:
                seconds = trainer(folder, proteins, values, only == "grouped")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps([seconds, peak]))
        return
    residues = sum(map(len, proteins))
    print(
        f"{provenance.processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads."
    )
    print(f"{count} proteins, {residues:,} residues, {rounds} rounds.\n")
    print("| shape | way | residues/s | times trainer (each round) | peak memory |")
    print("|---|---|---|---|---|")
    for shape in shapes or ("8M", "35M"):
        took: dict[str, list[float]] = {way: [] for way in WAYS}
        peaks = dict.fromkeys(WAYS, 0.0)
        for _ in range(rounds):
            for way in WAYS:
                seconds, peak = one(way, shape, count)
                took[way].append(seconds)
                peaks[way] = max(peaks[way], peak)
        for way in WAYS:
            ratios = [o / t for t, o in zip(took[way], took["trainer"], strict=True)]
            shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            rate = residues / statistics.median(took[way])
            print(
                f"| {shape} | {way} | {rate:,.0f} | {statistics.median(ratios):.2f} ({shown}) "
                f"| {peaks[way]:.1f} GB |",
                flush=True,
            )


if __name__ == "__main__":
    main()
