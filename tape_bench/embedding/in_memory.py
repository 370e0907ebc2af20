"""Every distinct sequence turned into a representation, once, for as long as it is needed.

The results lie end to end in one array: in memory while they fit `MEMORY_LIMIT`, otherwise in a
temporary file that has no name and goes when it is closed, or when the process ends for any
reason. `embeddings` is what a run uses, which keeps them for the runs to come.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tape_bench.embedding.forward import Forward, Launched, check_lengths, entries_of
from tape_bench.errors import StorageError
from tape_bench.models import embedder
from tape_bench.models.embedder import Embedder, Pool, Representation
from tape_bench.progress import Advance

MEMORY_LIMIT = 1 << 30
"""Bytes of representations kept in memory; more are kept in a temporary file."""


class Representations(Mapping[str, Representation]):
    """Representations by sequence: `[residues, hidden]`, or `[hidden]` where they are pooled.

    The arrays are read-only views. Close it, or leave its `with` block, to free the space.
    """

    def __init__(self, sequences: Sequence[str], hidden: int, pool: Pool) -> None:
        """Set space aside for these distinct sequences."""
        self.pool = pool
        self.hidden = hidden
        self.launched = Launched()
        self._index = {sequence: row for row, sequence in enumerate(sequences)}
        rows = [len(s) if pool == "residues" else 1 for s in sequences]
        self._offsets = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self._flat = _allocate(int(self._offsets[-1]), hidden)

    def __getitem__(self, sequence: str) -> Representation:
        rows = self._rows(sequence)
        rows.flags.writeable = False
        return rows if self.pool == "residues" else rows[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the memory, or remove the temporary file."""
        self._flat = np.empty((0, self.hidden), np.float32)
        self._index = {}

    def store(self, sequences: Sequence[str], found: embedder.Batch) -> None:
        """Keep representations of these sequences."""
        if self.pool != "residues":
            self._flat[[self._index[sequence] for sequence in sequences]] = found
            return
        for sequence, representation in zip(sequences, found, strict=True):
            self._rows(sequence)[...] = representation

    def _rows(self, sequence: str) -> Representation:
        row = self._index[sequence]
        return self._flat[self._offsets[row] : self._offsets[row + 1]]


def represent(
    model: Embedder,
    sequences: Iterable[str],
    pool: Pool,
    *,
    window: int | None = None,
    tokens_per_batch: int | None = None,
    progress: Advance | None = None,
) -> Representations:
    """Represent each distinct sequence once.

    Args:
        model: any Embedder.
        sequences: sequences of all splits; repeats cost nothing.
        pool: one vector a residue, or one a protein.
        window: residues the model is given at once; a longer sequence is represented in windows
            that overlap by half, each residue taken from where it is farthest from an edge.
            None gives every sequence whole.
        tokens_per_batch: tokens computed at once; what the model finds good if None.
        progress: called after every batch.

    Raises:
        ModelError: a sequence longer than the model reads, or representations of the wrong
            number, shape or type, or with values that are not finite.
        StorageError: no room for the temporary file.
    """
    entries = entries_of(sequences, window)
    check_lengths(model, entries, pool, window)
    forward = Forward(model, tokens_per_batch)
    kept = Representations(list(entries), model.identity.hidden_size, pool)
    kept.launched = forward.launched
    done, total = 0, sum(map(len, entries))
    for batch, found in forward.each(forward.batches(entries.values()), lambda batch: [pool]):
        sequences = [entry.sequence for entry in batch]
        kept.store(sequences, found[pool])
        done += sum(map(len, sequences))
        if progress is not None:
            progress(done, total)
    return kept


def _allocate(rows: int, hidden: int) -> NDArray[np.float32]:
    size = rows * hidden * np.dtype(np.float32).itemsize
    if size <= MEMORY_LIMIT:
        return np.empty((rows, hidden), np.float32)
    try:
        with tempfile.TemporaryFile(prefix="tape-bench-") as file:
            if hasattr(os, "posix_fallocate"):
                # A full disk must say so now: later, a write through the mapping would kill us.
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapping = mmap.mmap(file.fileno(), size)
    except OSError as error:
        raise StorageError(
            f"no room for {size / 1e9:.1f} GB of representations: {error.strerror}",
            where=tempfile.gettempdir(),
            fix="free some space, or set TMPDIR to a roomier folder",
        ) from error
    return np.frombuffer(mapping, np.float32).reshape(rows, hidden)
