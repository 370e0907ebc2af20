"""Every distinct sequence of a run turned into a representation, once.

Sequences are sorted by length and embedded in batches of about `TOKENS_PER_BATCH` residues, so
the order in which they are given changes nothing. The results lie end to end in one array: in
memory while they fit `MEMORY_LIMIT`, otherwise in a temporary file that has no name and goes
when it is closed, or when the process ends for any reason.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tape_bench.engine.windows import stitch, windows
from tape_bench.errors import ModelError, StorageError
from tape_bench.models.embedder import Embedder, Pool, Representation

TOKENS_PER_BATCH = 8192
"""Residues handed to the model at once; a single longer sequence goes alone."""

MEMORY_LIMIT = 1 << 30
"""Bytes of representations kept in memory; more are kept in a temporary file."""

Progress = Callable[[int, int], None]
"""Called with residues done and residues in all."""


class Representations(Mapping[str, Representation]):
    """Representations by sequence: `[residues, hidden]`, or `[hidden]` where they are pooled.

    The arrays are read-only views. Close it, or leave its `with` block, to free the space.
    """

    def __init__(self, sequences: Sequence[str], hidden: int, pool: Pool) -> None:
        """Set space aside for these distinct sequences."""
        self.pool = pool
        self.hidden = hidden
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

    def store(self, sequence: str, representation: Representation) -> None:
        """Keep one representation."""
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
    progress: Progress | None = None,
) -> Representations:
    """Represent each distinct sequence once.

    Args:
        model: any Embedder.
        sequences: sequences of all splits; repeats cost nothing.
        pool: one vector a residue, or one a protein.
        window: residues the model is given at once; a longer sequence is represented in windows
            that overlap by half, each residue taken from where it is farthest from an edge.
            None gives every sequence whole.
        progress: called after every batch.

    Raises:
        ModelError: a sequence longer than the model reads, or representations of the wrong
            number, shape or type, or with values that are not finite.
        StorageError: no room for the temporary file.
    """
    longest_first = sorted(set(sequences), key=lambda sequence: (-len(sequence), sequence))
    _check_lengths(model, longest_first, pool, window)
    kept = Representations(longest_first, model.identity.hidden_size, pool)
    done, total = 0, sum(map(len, longest_first))
    for batch in _batches(longest_first, window):
        if window is not None and len(batch[0]) > window:
            found = [_embed_in_windows(model, batch[0], pool, window)]
        else:
            found = _embed(model, batch, pool)
        for sequence, representation in zip(batch, found, strict=True):
            kept.store(sequence, representation)
        done += sum(map(len, batch))
        if progress is not None:
            progress(done, total)
    return kept


def _batches(longest_first: Sequence[str], window: int | None) -> Iterator[list[str]]:
    """Fill token budgets; a protein that needs windows goes alone."""
    batch: list[str] = []
    for sequence in longest_first:
        windowed = window is not None and batch and len(batch[0]) > window
        if batch and (windowed or (len(batch) + 1) * len(batch[0]) > TOKENS_PER_BATCH):
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def _embed_in_windows(model: Embedder, sequence: str, pool: Pool, width: int) -> Representation:
    cuts = windows(len(sequence), width)
    pieces = [sequence[cut.start : cut.stop] for cut in cuts]
    residues = stitch(cuts, [_embed(model, [piece], "residues")[0] for piece in pieces])
    return residues if pool == "residues" else residues.mean(axis=0)


def _embed(model: Embedder, sequences: list[str], pool: Pool) -> list[Representation]:
    found = model.embed(sequences, pool)
    name, hidden = model.identity.name, model.identity.hidden_size
    if not hasattr(found, "__len__"):
        raise _broken(name, f"a {type(found).__name__} instead of a list")
    if len(found) != len(sequences):
        raise _broken(name, f"{len(found)} representations for {len(sequences)} sequences")
    for sequence, representation in zip(sequences, found, strict=True):
        shape = (len(sequence), hidden) if pool == "residues" else (hidden,)
        if np.shape(representation) != shape:
            raise _broken(
                name, f"shape {np.shape(representation)} instead of {shape}", about=sequence
            )
        if not np.isfinite(representation).all():
            raise _broken(name, "values that are not finite", about=sequence)
    return found


def _broken(name: str, gave: str, about: str | None = None) -> ModelError:
    return ModelError(
        f"the model {name} gave {gave}",
        where=f"sequence {_short(about)}" if about else None,
        fix="correct the model's embed(); in half precision, try float32",
    )


def _check_lengths(
    model: Embedder, longest_first: Sequence[str], pool: Pool, window: int | None
) -> None:
    longest = model.identity.longest_input
    if longest_first and not longest_first[-1]:
        raise ModelError("an empty sequence has no representation", fix="remove the record")
    if window is not None and longest is not None and window > longest:
        raise ModelError(
            f"windows of {window} residues are too wide for {model.identity.name}",
            fix=f"use windows of at most {longest} residues",
        )
    reach = longest if window is None else window
    if not longest_first or reach is None or len(longest_first[0]) <= reach:
        return
    if window is None:
        raise ModelError(
            f"a protein of {len(longest_first[0])} residues is longer than the {longest} that "
            f"{model.identity.name} reads",
            where=f"sequence {_short(longest_first[0])}",
            fix="choose the length policy skip, truncate or window",
        )
    if pool == "first":
        raise ModelError(
            "windows cannot be pooled by the first token: each would have its own",
            fix="use pool 'mean', or the length policy skip or truncate",
        )


def _short(sequence: str) -> str:
    return f"{sequence[:20]}… ({len(sequence)} residues)" if len(sequence) > 24 else sequence


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
