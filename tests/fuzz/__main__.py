"""Files of every format, changed at random: each ends in the right answer or in an error of ours.

    python tests/fuzz --inputs 30000 [--seed 1] [--only WORD] [--replay NUMBER]

An input is the seed and its number, so any of them can be had again with the same --inputs and
--only. What must not be: another exception, a wrong answer without a word, more than `SECONDS`,
more than `MEMORY`, the end of the process.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import random
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TAPE_BENCH_DATA"] = os.environ["TAPE_BENCH_OUT"] = os.devnull

import of_data
import of_models
import of_own
import of_vectors
import psutil
import worker

SECONDS = 20.0
"""Longest time for one input."""
MEMORY = 1 << 30
"""Bytes a process may hold, beyond what it held before."""

TARGETS = {**of_data.TARGETS, **of_own.TARGETS, **of_models.TARGETS, **of_vectors.TARGETS}
BAD = ("foreign", "wrong", "hang", "memory", "died")


def main() -> int:
    """Run, and print a table of what came of the inputs of each target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=30_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="targets whose names hold this")
    parser.add_argument("--replay", type=int, help="this input alone, with all its faults shown")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.inputs} inputs", flush=True)
    chosen = [name for name in TARGETS if given.only in name]
    weights = [TARGETS[name].weight for name in chosen]
    names = random.Random(given.seed).choices(chosen, weights, k=given.inputs)
    first = 0 if given.replay is None else given.replay
    if given.replay is not None:
        names = names[: first + 1]
    started = time.monotonic()
    found = _supervised(str(given.seed), names, first)
    bad = _tell(names, found)
    print(
        f"seed {given.seed}: {len(found)} inputs in {time.monotonic() - started:.0f} s, {bad} bad"
    )
    return 1 if bad else 0


def _supervised(seed: str, names: list[str], begin: int) -> dict[int, tuple[str, str]]:
    """Have processes work through the inputs, a new one after each that ended badly."""
    context = multiprocessing.get_context("fork")
    found: dict[int, tuple[str, str]] = {}
    while begin < len(names):
        ours, theirs = context.Pipe()
        process = context.Process(target=worker.serve, args=(theirs, seed, names, TARGETS, begin))
        process.start()
        theirs.close()
        begin, fault = _watch(process, ours, found)
        process.kill()
        process.join()
        if fault is not None:
            found[begin] = fault
            begin += 1
    return found


def _watch(
    process: Any, pipe: Any, found: dict[int, tuple[str, str]]
) -> tuple[int, tuple[str, str] | None]:
    """Listen until the process has ended or must be; return the input after, or that of a fault."""
    watched = psutil.Process(process.pid)
    held = watched.memory_info().rss
    at, since = 0, time.monotonic()
    while True:
        try:
            if pipe.poll(0.02):
                at, told = pipe.recv()
                since = time.monotonic()
                if told != "begun":
                    found[at] = told
                    at += 1
                continue
            used = watched.memory_info().rss
        except (EOFError, psutil.NoSuchProcess):
            process.join()
            if process.exitcode:
                return at, ("died", f"exit code {process.exitcode}")
            return at, None
        if used > held + MEMORY:
            return at, ("memory", f"{used / 1e9:.1f} GB")
        if time.monotonic() - since > SECONDS:
            return at, ("hang", f"longer than {SECONDS} s")


def _tell(names: list[str], found: dict[int, tuple[str, str]]) -> int:
    table: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    shown: collections.Counter[str] = collections.Counter()
    for number, (outcome, more) in sorted(found.items()):
        table[names[number]][outcome] += 1
        if outcome in BAD:
            key = f"{names[number]} {outcome} {more[-120:]}"
            shown[key] += 1
            if shown[key] == 1:
                print(f"\n--- input {number} ({names[number]}): {outcome}\n{more}")
    for name, counts in sorted(table.items()):
        listed = ", ".join(f"{outcome} {count}" for outcome, count in sorted(counts.items()))
        print(f"{name:32} {sum(counts.values()):6}  {listed}")
    return sum(counts[outcome] for counts in table.values() for outcome in BAD)


if __name__ == "__main__":
    sys.exit(main())
