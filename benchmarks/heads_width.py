"""Default heads at the width of real models: time, passes over the vectors, and memory.

    python benchmarks/heads_width.py DATA > benchmarks/heads_width.md

Records are TAPE's (DATA is a folder of tarballs), and for contacts chains of ProteinNet's number
and lengths, folded as random walks. Vectors are synthetic, in half precision, in a memory-mapped
file: a random projection of a residue and its neighbours, and noise. They are read as a run reads
them from its cache, widened to float32. For contacts all proteins share one file of two
gigabytes, in which each has its place; there they are noise alone.

`Reading` is every vector of train, valid and headline test read once in that way. Each case runs
in a fresh process. Times are processor seconds, which neighbours on the machine disturb least,
and seconds on the clock. Memory is the largest private memory (`RssAnon`): mapped pages of the
file are the system's to take back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from tape_bench import registry
from tape_bench.data.columns import Columns, offsets_of
from tape_bench.data.examples import Split, load_task
from tape_bench.engine import workload
from tape_bench.engine.segments import decode
from tape_bench.heads.catalogue import HEADS
from tape_bench.heads.learning import learner

LETTERS = {letter: number for number, letter in enumerate(workload.RESIDUES)}
SHARED_BYTES = 2 << 30
"""Size of the file that all proteins of the contact set share."""


class Vectors(Mapping[str, NDArray[np.float32]]):
    """Half-precision vectors of sequences in a file, and how many rows have been read."""

    def __init__(self, path: Path, hidden: int, places: dict[str, tuple[int, int]], pooled: bool):
        self.bytes = np.memmap(path, np.uint8, mode="c")
        self.hidden, self.places, self.pooled = hidden, places, pooled
        self.rows_read = 0

    def __getitem__(self, sequence: str) -> NDArray[np.float32]:
        first, rows = self.places[sequence]
        self.rows_read += rows
        width = 2 * self.hidden
        found = decode(self.bytes[first * width : (first + rows) * width], "float16")
        return found if self.pooled else found.reshape(rows, self.hidden)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def chains(card, name: str, count: int, seed: int) -> Split:
    """Random chains of ProteinNet's lengths, as walks that stay in a ball of a protein's size."""
    random = np.random.default_rng(seed)
    lengths = workload.SETS["contact"].spread(count)
    lengths = random.permutation(lengths)
    letters = random.choice(np.frombuffer(workload.RESIDUES.encode(), np.uint8), lengths.sum())
    parts = []
    for length in lengths.tolist():
        # A pull towards the middle makes a walk of 3.8 Angstrom steps about as dense as a fold.
        steps = random.normal(0, 2.2, (length, 3))
        place, walk, keep = (
            np.zeros(3),
            np.empty((length, 3), np.float32),
            1 - 8 / length ** (2 / 3),
        )
        for number, step in enumerate(steps):
            place = place * max(keep, 0.5) + step
            walk[number] = place
        parts.append(walk)
    offsets = offsets_of(lengths)
    ids = "".join(f"{number:08d}" for number in range(count)).encode()
    columns = Columns("residue_pair", letters, offsets, np.frombuffer(ids, np.uint8),
                      np.arange(count + 1) * 8, {"tertiary": np.concatenate(parts)})  # fmt: skip
    return Split(name, card, columns, "", count)


def splits_of(task: str, data: str) -> dict[str, Split]:
    card = registry.task(task)
    if task == "contact":
        counts = {"train": 25_299, "valid": 224, "test": 40}
        return {name: chains(card, name, count, seed)
                for seed, (name, count) in enumerate(counts.items())}  # fmt: skip
    loaded = load_task(card, data=data)
    return {name: loaded[name] for name in ("train", "valid", card.headline)}


def write(
    path: Path, sequences: list[str], hidden: int, pooled: bool
) -> dict[str, tuple[int, int]]:
    """Write vectors of the sequences end to end, and say where each lies."""
    random = np.random.default_rng(0)
    tables = [torch.from_numpy(random.normal(size=(21, hidden)).astype(np.float32)) / 3
              for _ in range(3)]  # fmt: skip
    noise = torch.from_numpy(random.normal(size=(20_000, hidden)).astype(np.float32))
    # Channels of a language model go together, and a few are far larger than the others.
    mixing = torch.from_numpy(random.normal(size=(64, hidden)).astype(np.float32))
    noise += noise[:, :64] @ mixing / 8
    noise[:, ::100] *= 20
    places, row = {}, 0
    with path.open("wb") as file:
        for number, sequence in enumerate(sequences):
            letters = torch.tensor([20, *(LETTERS.get(letter, 20) for letter in sequence), 20])
            if pooled:
                shares = torch.bincount(letters[1:-1], minlength=21).float() / len(sequence)
                vectors = shares[None] @ tables[0] * 3 + noise[number % 20_000] / 20
            else:
                begin = (number * 7919) % (20_000 - len(sequence))
                vectors = noise[begin : begin + len(sequence)].clone()
                for place, table in enumerate(tables):
                    vectors += table[letters[place : place + len(sequence)]]
            file.write(vectors.half().numpy().tobytes())
            places[sequence] = (row, len(vectors))
            row += len(vectors)
    return places


def share(path: Path, sequences: list[str], hidden: int) -> dict[str, tuple[int, int]]:
    """Write noise, and give each sequence a place in it."""
    rows = SHARED_BYTES // (2 * hidden)
    random = np.random.default_rng(0)
    block = random.normal(size=(20_000, hidden)).astype(np.float16)
    with path.open("wb") as file:
        for first in range(0, rows, 20_000):
            file.write(np.roll(block, first // 20_000, axis=1)[: rows - first].tobytes())
    return {s: (int(random.integers(rows - len(s))), len(s)) for s in sequences}


class Peak(threading.Thread):
    """Watches the private memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.stopped = 0, threading.Event()

    def run(self) -> None:
        """Look ten times a second."""
        while not self.stopped.wait(0.1):
            status = Path("/proc/self/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
            self.most = max(self.most, int(line.split()[1]) * 1024)


def measure(task: str, hidden: int, data: str, folder: str) -> None:
    card = registry.task(task)
    splits = splits_of(task, data)
    sequences = list(dict.fromkeys(s for split in splits.values() for s in split.sequences))
    pooled = card.pool != "residues"
    path = Path(folder) / "vectors"
    if task == "contact":
        places = share(path, sequences, hidden)
    else:
        places = write(path, sequences, hidden, pooled)
    known = Vectors(path, hidden, places, pooled)
    size = sum(rows for _, rows in places.values())
    reading, reading_clock = time.process_time(), time.perf_counter()
    for sequence in sequences:
        known[sequence]
    reading, reading_clock = time.process_time() - reading, time.perf_counter() - reading_clock
    known.rows_read = 0
    peak = Peak()
    peak.start()
    fitting, fitting_clock = time.process_time(), time.perf_counter()
    learned = learner(card.kind, HEADS[card.kind][card.head], card.targets[0], known)
    selected, _ = learned.learn(splits["train"], splits["valid"], seed=0)
    for name in ("valid", card.headline):
        learned.predict(splits[name])
    fitting, fitting_clock = time.process_time() - fitting, time.perf_counter() - fitting_clock
    peak.stopped.set()
    click.echo(json.dumps({
        "task": task, "hidden": hidden, "head": card.head, "rows": size,
        "bytes": 2 * size * hidden, "reading": reading, "reading_clock": reading_clock,
        "fitting": fitting, "fitting_clock": fitting_clock, "passes": known.rows_read / size,
        "peak": peak.most, "selected": selected, "threads": torch.get_num_threads(),
    }))  # fmt: skip


def line(found: dict) -> str:
    selected = found["selected"]
    cells = [
        found["task"], found["hidden"], f"{found['rows']:,}", f"{found['bytes'] / 1e9:.2f}",
        f"{found['reading']:.1f} ({found['reading_clock']:.1f})",
        f"{found['fitting']:.1f} ({found['fitting_clock']:.1f})",
        f"{found['fitting'] / found['reading']:.1f}", f"{found['passes']:.1f}",
        f"{found['peak'] / 1e9:.2f}", f"{selected['penalty']:.0e}", f"{selected['gradient']:.0e}",
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


@click.command()
@click.argument("data")
@click.option("--task", "tasks", multiple=True, default=registry.task_names())
@click.option("--hidden", "widths", multiple=True, type=int, default=(1280, 2560))
def main(data: str, tasks: tuple[str, ...], widths: tuple[int, ...]) -> None:
    titles = ["task", "channels", "vectors", "GB", "reading, s (clock)", "fitting, s (clock)",
              "fitting / reading", "passes", "memory, GB", "penalty", "gradient"]  # fmt: skip
    click.echo("| " + " | ".join(titles) + " |")
    click.echo("| --- " + "| ---: " * (len(titles) - 1) + "|")
    for task in tasks:
        for hidden in widths:
            with tempfile.TemporaryDirectory(prefix="heads_width_") as folder:
                command = [sys.executable, __file__, "--measure", task, str(hidden), data, folder]
                done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
            if done.returncode:
                raise SystemExit(done.stderr)
            click.echo(line(json.loads(done.stdout.splitlines()[-1])))
            sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
    else:
        main()
