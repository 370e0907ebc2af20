"""A run's library: representations looked up, and computed and kept where there are none.

`fill` takes in what all tasks of a run read, so that a sequence that occurs in several of them
goes through the model once. Models that no digest of weights tells from others are not kept on
disk: each task computes them anew, and holds them only as long as it lasts.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import accumulate, takewhile
from pathlib import Path
from types import TracebackType
from typing import Self

from tape_bench import paths
from tape_bench.cache.eviction import default_limit, make_room
from tape_bench.cache.precision import Stored, kept_on_disk, width_of
from tape_bench.cache.segments import as_kept
from tape_bench.cache.vectors import Cache, entry_key
from tape_bench.embedding.executors.executor import NOTHING, Computed, Job
from tape_bench.embedding.executors.local import LocalProcesses
from tape_bench.embedding.executors.session import Session
from tape_bench.embedding.fill import Progress, Wanted
from tape_bench.embedding.forward import Forward, Reading, check_lengths, readings_of
from tape_bench.embedding.in_memory import Representations, represent
from tape_bench.models.embedder import Described, Embedder, Pool, Representation


@dataclass(frozen=True)
class Need:
    """What one task reads: proteins, one vector a residue or a protein, whole or in windows."""

    sequences: tuple[str, ...]
    pool: Pool
    window: int | None = None


@dataclass
class Library:
    """The representations of one model, and who makes more."""

    session: Session
    cache: Cache | None
    """Where they are kept; None for a model whose identity has no digest of weights."""
    tokens_per_batch: int | None = None
    limit: int | None = None
    """Bytes the whole cache may take; half of what the disk could give if None."""
    computed: Computed = NOTHING
    """What went through the model so far."""

    @property
    def model(self) -> Embedder:
        """The model."""
        return self.session.model

    def fill(self, needs: Sequence[Need], progress: Progress | None = None) -> None:
        """Compute what is not there yet, as far as there is room for it.

        Raises:
            ModelError: see `represent`.
            StorageError: the disk is full or cannot be written.
        """
        if self.cache is None:
            return
        # Other processes of this run may have added their shares since it was last looked at.
        self.cache.refresh()
        shares = self._shares(self.cache, needs)
        if not any(shares):
            return
        job = Job(shares, self.cache, self.tokens_per_batch)
        self.computed = self.computed.then(self.session.executor.run(job, progress))
        self.cache.refresh()

    def meet(self) -> Library | None:
        """Wait for the other processes of this run; None if another goes on with what they made.

        Raises:
            PeerLostError: one of them has died.
        """
        met = self.session.executor.meet(self.computed)
        if met is None:
            return None
        executor, computed = met
        return replace(self, session=replace(self.session, executor=executor), computed=computed)

    def open(self, need: Need, progress: Progress | None = None) -> Shelf | Representations:
        """Return the representations of one task, computing those that are not there yet.

        Raises:
            ModelError: see `represent`.
            StorageError: the disk is full or cannot be written.
        """
        if self.cache is not None:
            self.fill([need], progress)
            return Shelf(self.cache, need, Forward(self.model, self.tokens_per_batch))
        started = time.perf_counter()
        found = represent(
            self.model,
            need.sequences,
            need.pool,
            window=need.window,
            tokens_per_batch=self.tokens_per_batch,
            progress=progress,
        )
        seconds = time.perf_counter() - started
        again = found.launched.recomputed
        self.computed = self.computed.then(Computed(sum(map(len, found)), seconds, again))
        return found

    @property
    def device(self) -> str:
        """Where the model computes, and so may what reads its representations."""
        return self.model.describe().device if isinstance(self.model, Described) else "cpu"

    @property
    def rate(self) -> float | None:
        """Residues a second through the model; None where none had to go through it."""
        done = self.computed
        return done.residues / done.seconds if done.residues else None

    def _shares(self, cache: Cache, needs: Sequence[Need]) -> list[Wanted]:
        """Return what the cache lacks, in as many shares as there are to work on it.

        Who computes what follows from the needs alone, and not from what is there already: an
        interrupted run that goes on forms the same batches again, and gets the same values.
        """
        needed: dict[bytes, tuple[Reading, Pool]] = {}
        for need in needs:
            check_lengths(self.model, need.sequences, need.pool, need.window)
            for reading in readings_of(need.sequences, need.window).values():
                key = entry_key(reading.sequence, need.pool, reading.window)
                needed[key] = reading, need.pool
        cache.check(needed)
        lacking: dict[Reading, frozenset[Pool]] = {}
        there: list[bytes] = []
        for key, (reading, pool) in needed.items():
            if key in cache:
                there.append(key)
            else:
                lacking[reading] = lacking.get(reading, frozenset()) | {pool}
        used = cache.use(there)
        wanted = self._that_fit(cache, lacking, used) if lacking else {}
        parts = self.session.executor.parts
        if parts == 1:
            return [wanted]
        ordered = sorted({reading for reading, _ in needed.values()}, key=Reading.by_length)
        return [
            {reading: wanted[reading] for reading in ordered[part::parts] if reading in wanted}
            for part in range(parts)
        ]

    def _that_fit(self, cache: Cache, lacking: Wanted, used: set[Path]) -> Wanted:
        """Make room, and return what there is room for: the smallest, where not for all."""
        width = cache.hidden * width_of(cache.stored)

        def size(reading: Reading) -> int:
            pools = lacking[reading]
            residues = len(reading.sequence) if "residues" in pools else 0
            return width * (residues + len(pools - {"residues"}))

        needed = sum(map(size, lacking))
        limit = default_limit(cache.root) if self.limit is None else self.limit
        room = make_room(cache.root, needed, limit, used)
        if room >= needed:
            return lacking
        _tell_of_short_room(needed, room)
        ordered = sorted(lacking, key=lambda reading: (size(reading), reading.by_length()))
        ends = accumulate(map(size, ordered))
        fits = takewhile(lambda one: one[1] <= room, zip(ordered, ends, strict=True))
        return {reading: lacking[reading] for reading, _ in fits}


class Shelf(Mapping[str, Representation]):
    """What one task reads, from the cache: `[residues, hidden]` a protein, or `[hidden]`.

    Read-only, and straight from the mapped files where they keep float32. What the cache had no
    room for is computed each time it is asked for.
    """

    def __init__(self, cache: Cache, need: Need, forward: Forward) -> None:
        """Lay out what a task needs."""
        self._cache = cache
        self._pool = need.pool
        self._forward = forward
        self._readings = readings_of(need.sequences, need.window)

    def __getitem__(self, sequence: str) -> Representation:
        reading = self._readings[sequence]
        vectors = self._cache.get(entry_key(sequence, self._pool, reading.window))
        if vectors is None:
            computed = self._forward([reading], [self._pool])[self._pool][0]
            # A figure must not depend on how much room there was.
            return as_kept(computed, self._cache.stored)
        return vectors if self._pool == "residues" else vectors[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._readings)

    def __len__(self) -> int:
        return len(self._readings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave what is kept where it is."""


def _tell_of_short_room(needed: int, room: int) -> None:
    warnings.warn(
        f"the representation cache has room for {room / 1e9:.1f} of the {needed / 1e9:.1f} GB that "
        "this run needs; what does not fit is computed each time a head reads it, which is slow\n"
        "  to do: raise --cache-limit, free some space, or choose another TAPE_BENCH_CACHE",
        stacklevel=4,
    )


@contextmanager
def open_library(
    session: Session,
    stored: Stored,
    *,
    tokens_per_batch: int | None = None,
    limit: int | None = None,
    anew: bool = False,
) -> Iterator[Library]:
    """Open the library of a session's model; see `Library`.

    Ranks must leave what they compute where this process finds it: for a model that is not
    kept on disk, that is a temporary folder. With `anew`, nothing that was kept before is used.
    """
    model = session.model
    kept = kept_on_disk(model.identity)
    rests_on = session.identity.rests_on if kept else None
    if kept and (rests_on is None or rests_on.can_be_told_again):
        cache = Cache.of(model, stored, paths.cache(), rests_on)
        if anew:
            # Of several processes one clears up, before the others have written much.
            cache.forget(remove=session.executor.leads)
        yield Library(session, cache, tokens_per_batch, limit)
    elif isinstance(session.executor, LocalProcesses):
        with tempfile.TemporaryDirectory(prefix="tape-bench-") as root:
            cache = Cache.of(model, stored, Path(root))
            yield Library(session, cache, tokens_per_batch, limit)
    else:
        yield Library(session, None, tokens_per_batch, limit)
