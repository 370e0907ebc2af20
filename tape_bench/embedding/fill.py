"""Computing what the cache lacks: batch after batch through the model, each kept at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from tape_bench.cache.vectors import Cache, entry_key
from tape_bench.embedding.executors.executor import Computed
from tape_bench.embedding.forward import Entry, Forward, Found
from tape_bench.models.embedder import Embedder, Pool, Representation
from tape_bench.progress import Advance

Missing = Mapping[Entry, frozenset[Pool]]
"""What is to be computed: how each sequence is read, and in which ways it is pooled."""


def compute(
    model: Embedder,
    missing: Missing,
    cache: Cache,
    tokens_per_batch: int | None = None,
    progress: Advance | None = None,
    *,
    writes: bool = True,
) -> Computed:
    """Represent sequences and keep them, writing one batch while the next is computed.

    Args:
        model: any Embedder.
        missing: what to compute.
        cache: where to keep it. A run that is killed has lost at most the batches not yet
            written, and forms the same batches again when it goes on.
        tokens_per_batch: tokens computed at once; what the model finds good if None.
        progress: called after every batch.
        writes: False for a tensor-parallel rank whose partner writes.

    Raises:
        ModelError: see `Forward`.
        StorageError: the disk is full or cannot be written.
    """
    started = time.perf_counter()
    forward = Forward(model, tokens_per_batch)
    done, total = 0, sum(len(entry.sequence) for entry in missing)

    def pools_of(batch: Sequence[Entry]) -> Sequence[Pool]:
        return sorted({pool for entry in batch for pool in missing[entry]})

    with cache.writer() as writer:
        for batch, found in forward.each(forward.batches(missing), pools_of):
            if writes:
                writer.put(*_entries(batch, found, missing))
            done += sum(len(entry.sequence) for entry in batch)
            if progress is not None:
                progress(done, total)
    return Computed(done, time.perf_counter() - started, forward.launched.recomputed)


def _entries(
    batch: Sequence[Entry], found: Found, missing: Missing
) -> tuple[list[bytes], list[Representation]]:
    """Return the keys of what was wanted of a batch, and their vectors `[rows, hidden]`."""
    keys, vectors = [], []
    for pool, representations in found.items():
        for entry, representation in zip(batch, representations, strict=True):
            if pool in missing[entry]:
                keys.append(entry_key(entry.sequence, pool, entry.window))
                rows = representation if pool == "residues" else representation[None]
                vectors.append(rows)
    return keys, vectors
