"""Records per second into batches, beside a plain reader of the same LMDB files.

    python benchmarks/loading.py DATA [--batch 64] [--rounds 11]

The plain reader does what TAPE's does: get a record, unpickle it, encode it with a dictionary.
It runs whatever a pickle asks for: give it only data you trust. Both sides hand out the same
arrays, which is checked first; batches are packed (proteins end to end) or padded to the longest.
Padding costs both sides the same, so it hides the difference where lengths differ most.

Rounds alternate between the two sides, and medians are shown: with opening the set every time,
and over a set that is open already. Times are those of the processor: both sides use one thread
and read from the page cache, and what else the machine does is not counted.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from tape_bench import paths, registry
from tape_bench.cards import TaskCard
from tape_bench.data.columns import offsets_of
from tape_bench.data.examples import Split, TaskData, load_task
from tape_bench.data.locate import locate
from tape_bench.data.vocabulary import TAPE_IUPAC

Arrays = tuple[np.ndarray, ...]
"""Token ids and targets, and where each protein begins if they are packed."""

IDS = {token: id for id, token in enumerate(TAPE_IUPAC.tokens)}


def plain_batches(
    store: lmdb.Environment, card: TaskCard, size: int, pad: bool
) -> Iterator[Arrays]:
    records = []
    with store.begin() as entry:
        count = pickle.loads(entry.get(b"num_examples"))
        for index in range(count):
            records.append(pickle.loads(entry.get(str(index).encode())))
            if len(records) == size or index == count - 1:
                yield plain_batch(records, card, pad)
                records = []


def plain_batch(records: list[Mapping[str, Any]], card: TaskCard, pad: bool) -> Arrays:
    name = card.targets[0].field
    tokens = [np.array([IDS[letter] for letter in r["primary"]], np.int64) for r in records]
    missing = -1.0
    if card.kind == "token_class":
        targets = [np.asarray(r[name], np.int64) for r in records]
    elif card.kind == "residue_pair":
        missing = np.nan
        targets = [np.array(r[name], np.float32) for r in records]
        for target, record in zip(targets, records, strict=True):
            target[~record["valid_mask"]] = missing
    else:
        values = np.array([np.squeeze(r[name]) for r in records])
        return (plain_pad(tokens, 0), values) if pad else (*plain_pack(tokens), values)
    if pad:
        return plain_pad(tokens, 0), plain_pad(targets, missing)
    return *plain_pack(tokens), np.concatenate(targets)


def plain_pack(arrays: list[np.ndarray]) -> Arrays:
    return np.concatenate(arrays), offsets_of([len(array) for array in arrays])


def plain_pad(arrays: list[np.ndarray], value: float) -> np.ndarray:
    longest = max(len(array) for array in arrays)
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def our_batches(split: Split, size: int, pad: bool) -> Iterator[Arrays]:
    columns = split.columns
    column = columns.fields[split.card.targets[0].field]
    missing = np.nan if split.card.kind == "residue_pair" else -1.0
    for first in range(0, len(split), size):
        spans = columns.offsets[first : first + size + 1]
        residues = slice(spans[0], spans[-1])
        offsets = spans - spans[0]
        tokens = TAPE_IUPAC.table[columns.letters[residues]]
        targets = column[residues if columns.per_residue else slice(first, first + size)]
        if split.card.kind == "token_class":
            targets = targets.astype(np.int64)
        if not pad:
            yield tokens, offsets, targets
        elif columns.per_residue:
            yield our_pad(tokens, offsets, 0), our_pad(targets, offsets, missing)
        else:
            yield our_pad(tokens, offsets, 0), targets


def our_pad(flat: np.ndarray, offsets: np.ndarray, value: float) -> np.ndarray:
    spans = list(pairwise(offsets.tolist()))
    longest = max(stop - start for start, stop in spans)
    padded = np.full((len(spans), longest, *flat.shape[1:]), value, flat.dtype)
    for row, (start, stop) in zip(padded, spans, strict=True):
        row[: stop - start] = flat[start:stop]
    return padded


class Contest:
    """The two readers over the same files."""

    def __init__(self, card: TaskCard, place: Path, size: int, pad: bool) -> None:
        self.card, self.place, self.size, self.pad = card, place, size, pad
        folder = locate(card, place, paths.cache()).folder
        self.task = load_task(card, place)
        self.paths = {name: folder / f"{card.source.folder}_{name}.lmdb" for name in self.task}
        self.stores = {
            name: lmdb.open(str(path), readonly=True, lock=False)
            for name, path in self.paths.items()
        }

    def check_same(self) -> None:
        """Stop unless both readers give the same arrays."""
        for name, store in self.stores.items():
            theirs = plain_batches(store, self.card, self.size, self.pad)
            ours = our_batches(self.task[name], self.size, self.pad)
            for batch, our_batch in zip(theirs, ours, strict=True):
                for array, our_array in zip(batch, our_batch, strict=True):
                    np.testing.assert_array_equal(our_array, array)

    def plain(self, stores: Mapping[str, lmdb.Environment] | None = None) -> None:
        """Read every batch as TAPE's reader would."""
        for store in (stores or self.stores).values():
            for _ in plain_batches(store, self.card, self.size, self.pad):
                pass

    def ours(self, task: TaskData | None = None) -> None:
        """Read every batch from columns."""
        for split in (task or self.task).values():
            for _ in our_batches(split, self.size, self.pad):
                pass

    def plain_with_opening(self) -> None:
        """Open the files and read every batch."""
        with ExitStack() as stack:
            self.plain(
                {
                    name: stack.enter_context(lmdb.open(str(path), readonly=True, lock=False))
                    for name, path in self.paths.items()
                }
            )

    def ours_with_opening(self) -> None:
        """Open the set from the cache and read every batch."""
        self.ours(load_task(self.card, self.place))

    def rates(self, rounds: int, *readers: Callable[[], None]) -> list[float]:
        """Return each reader's records a second, the median of alternating rounds."""
        times: list[list[float]] = [[] for _ in readers]
        for _ in range(rounds):
            for reader, taken in zip(readers, times, strict=True):
                start = time.process_time()
                reader()
                taken.append(time.process_time() - start)
        records = sum(len(split) for split in self.task.values())
        return [records / statistics.median(taken) for taken in times]

    def run(self, rounds: int) -> str:
        """Return one line of the table."""
        self.check_same()
        plain, ours = self.rates(rounds, self.plain, self.ours)
        for store in self.stores.values():
            store.close()  # LMDB opens a file once a process
        plain_too, ours_too = self.rates(rounds, self.plain_with_opening, self.ours_with_opening)
        return (
            f"{self.card.name:20} {'padded' if self.pad else 'packed'} "
            f"{plain_too:12,.0f} {ours_too:12,.0f} {ours_too / plain_too:5.1f}x "
            f"{plain:12,.0f} {ours:12,.0f} {ours / plain:5.1f}x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="data root or folder of tarballs")
    parser.add_argument("--batch", type=int, default=64, help="proteins a batch")
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    print(f"{'records a second':28}{'with opening':>26}{'open already':>33}")
    print(f"{'task':20} {'':6} {'plain':>12} {'ours':>12} {'':6} {'plain':>12} {'ours':>12}")
    for name in registry.task_names():
        for pad in (False, True):
            contest = Contest(registry.task(name), given.data, given.batch, pad)
            print(contest.run(given.rounds), flush=True)


if __name__ == "__main__":
    main()
