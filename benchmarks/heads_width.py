"""Default heads at the width of real models: time, passes over the vectors, and memory.

    python benchmarks/heads_width.py DATA > benchmarks/heads_width.md

Records are TAPE's (DATA is a folder of tarballs), and for contacts chains of ProteinNet's number
and lengths, folded as random walks. Vectors are synthetic, in half precision, in a cache that is
written as a run writes it: a random projection of a residue and its neighbours, and noise.

`Widening` is every vector of train, valid and headline test turned into float32 once, straight
from the mapped files, unused and unchecked. `Reading` is what any run pays: checksums at first
use, and each vector read once. For contacts only the chains that the head uses are kept, and
both are scaled to all. The files lie in the system's page cache, so that no disk is measured.

Each case runs in a fresh process. Times are processor seconds, which neighbours on the machine
disturb least, and seconds on the clock. Memory is the largest private memory (`RssAnon`), and
beside it the largest resident one: mapped pages of the files are the system's to take back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import torch
from numpy.typing import NDArray

from tape_bench import registry
from tape_bench.cache.vectors import Cache, entry_key
from tape_bench.data.columns import Columns, offsets_of
from tape_bench.data.examples import Split, load_task
from tape_bench.embedding.embeddings import CachedEmbeddings, Request
from tape_bench.heads.catalogue import HEADS
from tape_bench.heads.learning import learner
from tape_bench.heads.pair_logistic import evenly_spaced
from tape_bench.models.embedder import Pool
from tape_bench.speed import synthetic

LETTERS = {letter: number for number, letter in enumerate(synthetic.RESIDUES)}


class Counted(Mapping[str, NDArray[np.float32]]):
    """A shelf of the cache, and how many vectors of it have been read."""

    def __init__(self, cached: CachedEmbeddings) -> None:
        self.cached, self.vectors_read = cached, 0

    def __getitem__(self, sequence: str) -> NDArray[np.float32]:
        found = self.cached[sequence]
        self.vectors_read += found.size // found.shape[-1]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.cached)

    def __len__(self) -> int:
        return len(self.cached)


def chains(card, name: str, count: int, seed: int) -> Split:
    """Random chains of ProteinNet's lengths, as walks that stay in a ball of a protein's size."""
    random = np.random.default_rng(seed)
    lengths = synthetic.SETS["contact"].spread(count)
    lengths = random.permutation(lengths)
    letters = random.choice(np.frombuffer(synthetic.RESIDUES.encode(), np.uint8), lengths.sum())
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
    step = int(os.environ.get("EVERY", "1"))
    return {name: loaded[name].take(np.arange(0, len(loaded[name]), step))
            for name in ("train", "valid", card.headline)}  # fmt: skip


def write(cache: Cache, sequences: Sequence[str], pool: Pool) -> None:
    """Keep synthetic vectors of the sequences in the cache, as a run would."""
    random, hidden = np.random.default_rng(0), cache.hidden
    tables = [torch.from_numpy(random.normal(size=(21, hidden)).astype(np.float32)) / 3
              for _ in range(3)]  # fmt: skip
    noise = torch.from_numpy(random.normal(size=(20_000, hidden)).astype(np.float32))
    # Channels of a language model go together, and a few are far larger than the others.
    mixing = torch.from_numpy(random.normal(size=(64, hidden)).astype(np.float32))
    noise += noise[:, :64] @ mixing / 8
    noise[:, ::100] *= 20
    keys: list[bytes] = []
    found: list[NDArray[np.float32]] = []
    with cache.writer() as writer:
        for number, sequence in enumerate(sequences):
            letters = torch.tensor([20, *(LETTERS.get(letter, 20) for letter in sequence), 20])
            if pool != "residues":
                shares = torch.bincount(letters[1:-1], minlength=21).float() / len(sequence)
                vectors = shares[None] @ tables[0] * 3 + noise[number % 20_000] / 20
            else:
                begin = (number * 7919) % (20_000 - len(sequence))
                vectors = noise[begin : begin + len(sequence)].clone()
                for place, table in enumerate(tables):
                    vectors += table[letters[place : place + len(sequence)]]
            keys.append(entry_key(sequence, pool, None))
            found.append(vectors.numpy())
            if len(keys) == 64 or number == len(sequences) - 1:
                writer.put(keys, found)
                keys, found = [], []


class Peak(threading.Thread):
    """Watches the memory of this process: its own, and with the pages of mapped files."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.own, self.resident, self.stopped = 0, 0, threading.Event()

    def run(self) -> None:
        """Look ten times a second."""
        while not self.stopped.wait(0.1):
            lines = Path("/proc/self/status").read_text().splitlines()
            told = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")
                    or line.startswith("Rss")}  # fmt: skip
            self.own = max(self.own, int(told["RssAnon"]) * 1024)
            self.resident = max(self.resident, int(told["VmRSS"]) * 1024)


class Clock:
    """Processor seconds, and seconds on the clock."""

    def __enter__(self) -> Clock:
        self._begun = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        processor, clock = self._begun
        self.seconds = time.process_time() - processor
        self.on_the_clock = time.perf_counter() - clock


def prepare(
    task: str, hidden: int, data: str, folder: str
) -> tuple[dict[str, Split], Request, float]:
    """Return the splits, which vectors are kept, and the share of all that those are."""
    card = registry.task(task)
    splits = splits_of(task, data)
    names = ("train", "valid", card.headline)
    sequences = list(dict.fromkeys(s for name in names for s in splits[name].sequences))
    kept = sequences
    if task == "contact":
        # All would be 17 or 33 GB; the head reads these.
        train = splits["train"].sequences
        rest = [s for name in names[1:] for s in splits[name].sequences]
        kept = list(dict.fromkeys([*train[evenly_spaced(train)], *rest]))
    pooled = card.pool != "residues"
    size = [sum(1 if pooled else len(s) for s in some) for some in (sequences, kept)]
    return splits, Request(tuple(kept), card.pool), size[0] / size[1]


def read(cache: Cache, need: Request) -> None:
    """Read every vector once, as heads do."""
    cached = CachedEmbeddings(cache, need, None)  # type: ignore[arg-type]
    for sequence in need.sequences:
        cached[sequence]


def bare(cache: Cache, need: Request) -> None:
    """Widen every vector once, unchecked."""
    for sequence in need.sequences:
        place = cache._places[entry_key(sequence, need.pool, None)]
        place.segment.vectors(place.offset, place.rows, place.kind)


def measure(task: str, hidden: int, data: str, folder: str) -> None:
    card = registry.task(task)
    splits, need, share = prepare(task, hidden, data, folder)
    with Clock() as widening:
        bare(Cache(Path(folder), hidden, "float16"), need)
    cache = Cache(Path(folder), hidden, "float16")
    with Clock() as reading:
        cache.check(entry_key(sequence, need.pool, None) for sequence in need.sequences)
        read(cache, need)
    known = Counted(CachedEmbeddings(cache, need, None))  # type: ignore[arg-type]
    size = share * sum(1 if card.pool != "residues" else len(s) for s in need.sequences)
    peak = Peak()
    peak.start()
    with Clock() as fitting:
        learned = learner(card.kind, HEADS[card.kind][card.head], card.targets[0], known)
        selected, _ = learned.learn(splits["train"], splits["valid"], seed=0)
        for name in ("valid", card.headline):
            learned.predict(splits[name])
    peak.stopped.set()
    click.echo(json.dumps({
        "task": task, "hidden": hidden, "head": card.head, "rows": round(size),
        "bytes": 2 * size * hidden, "widening": share * widening.seconds,
        "reading": share * reading.seconds, "fitting": fitting.seconds,
        "fitting_clock": fitting.on_the_clock, "passes": known.vectors_read / size,
        "own": peak.own, "resident": peak.resident, "selected": selected, "share": share,
        "threads": torch.get_num_threads(),
    }))  # fmt: skip


def line(found: dict) -> str:
    selected, seconds = found["selected"], found["fitting"]
    cells = [
        found["task"], found["hidden"], f"{found['rows']:,}", f"{found['bytes'] / 1e9:.2f}",
        f"{found['widening']:.2f}", f"{found['reading']:.2f}",
        f"{seconds:.1f} ({found['fitting_clock']:.1f})",
        f"{seconds / found['widening']:.1f}", f"{seconds / found['reading']:.1f}",
        f"{found['passes']:.1f}", f"{found['own'] / 1e9:.2f}", f"{found['resident'] / 1e9:.2f}",
        f"{selected['penalty']:.0e}", f"{selected['gradient']:.0e}",
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


@click.command()
@click.argument("data")
@click.option("--task", "tasks", multiple=True, default=registry.task_names())
@click.option("--every", default=1, help="Take one record of so many.")
@click.option("--hidden", "widths", multiple=True, type=int, default=(1280, 2560))
def main(data: str, tasks: tuple[str, ...], every: int, widths: tuple[int, ...]) -> None:
    titles = ["task", "channels", "vectors", "GB", "widening, s", "reading, s",
              "fitting, s (clock)", "fitting / widening", "fitting / reading", "passes",
              "memory, GB", "with mapped pages, GB", "penalty", "gradient"]  # fmt: skip
    click.echo("| " + " | ".join(titles) + " |")
    click.echo("| --- " + "| ---: " * (len(titles) - 1) + "|")
    for task in tasks:
        for hidden in widths:
            with tempfile.TemporaryDirectory(prefix="heads_width_") as folder:
                for step in ("--write", "--measure"):
                    command = [sys.executable, __file__, step, task, str(hidden), data, folder]
                    done = subprocess.run(
                        command,
                        capture_output=True,
                        text=True,
                        env=os.environ | {"EVERY": str(every)},
                    )
                    if done.returncode:
                        raise SystemExit(done.stderr)
            click.echo(line(json.loads(done.stdout.splitlines()[-1])))
            sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
    elif sys.argv[1:2] == ["--write"]:
        _, need, _ = prepare(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
        write(Cache(Path(sys.argv[5]), int(sys.argv[3]), "float16"), need.sequences, need.pool)
    else:
        main()
