"""How fast representations go to the cache and come back, measured in a cache of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tape_bench.atomic import storage_error
from tape_bench.cache.precision import Stored, width_of
from tape_bench.cache.vectors import Cache
from tape_bench.leftovers import private_folder
from tape_bench.speed.machine import COPY_BYTES, fastest

_ROWS_PER_WRITE = 2048
"""Vectors handed over at once, as after a launch on a CPU."""


@dataclass(frozen=True)
class CacheRates:
    """Bytes a second, as they are kept on disk."""

    write_bytes_per_second: float
    """Until they are on the disk itself."""
    read_bytes_per_second: float
    """From mapped files that are in the page cache, copied out protein by protein at random."""


def cache_rates(root: Path, hidden: int, stored: Stored, lengths: Sequence[int]) -> CacheRates:
    """Write one vector a residue of proteins of these lengths, and read them again.

    Args:
        root: a folder on the disk in question; what is written there is removed.
        hidden: width of a vector.
        stored: precision that vectors are kept in.
        lengths: residues of the proteins, which are repeated until there is enough.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    most = COPY_BYTES // (hidden * width_of(stored))
    counts = [min(length, most) for length in lengths]
    counts *= max(1, most // sum(counts))
    keys = [number.to_bytes(16, "big") for number in range(len(counts))]
    with ExitStack() as stack:
        try:
            root.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(private_folder(root, "bench"))
        except OSError as error:
            raise storage_error(error, root) from error
        write = _write(Cache(folder, hidden, stored), keys, counts)
        read = _read(Cache(folder, hidden, stored), keys, counts)
    size = sum(counts) * hidden * width_of(stored)
    return CacheRates(size / write, size / read)


def _write(cache: Cache, keys: Sequence[bytes], counts: Sequence[int]) -> float:
    """Return the seconds that writing takes."""
    noise = np.random.default_rng(0).standard_normal((max(counts), cache.hidden), np.float32)
    started = time.perf_counter()
    with cache.writer() as writer:
        for batch in _batches(counts):
            writer.put(keys[batch], [noise[:count] for count in counts[batch]])
    return time.perf_counter() - started


def _read(cache: Cache, keys: Sequence[bytes], counts: Sequence[int]) -> float:
    """Return the seconds that reading everything takes."""
    order = np.random.default_rng(0).permutation(len(keys))
    target = np.zeros((max(counts), cache.hidden), np.float32)

    def read_all() -> None:
        for index in order:
            vectors = cache.get(keys[index])
            assert vectors is not None
            # What is kept in half precision has been copied already, as it was widened.
            if cache.stored == "float32":
                target[: len(vectors)] = vectors

    return fastest(read_all)


def _batches(counts: Sequence[int]) -> Iterator[slice]:
    first, rows = 0, 0
    for index, count in enumerate(counts):
        if rows and rows + count > _ROWS_PER_WRITE:
            yield slice(first, index)
            first, rows = index, 0
        rows += count
    yield slice(first, len(counts))
