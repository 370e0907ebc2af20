"""The representations of a run: looked up, and computed and kept where there are none.

`fill` takes in what all tasks of a run read, so that a sequence that occurs in several of them
goes through the model once. Models that no digest of weights tells from others are not kept on
disk: each task computes them anew, and holds them only as long as it lasts.
"""

from __future__ import annotations

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
from tape_bench.embedding.fill import Missing
from tape_bench.embedding.forward import Entry, Forward, check_lengths, entries_of
from tape_bench.embedding.in_memory import Representations, represent
from tape_bench.errors import StorageError
from tape_bench.leftovers import temporary_folder
from tape_bench.models.embedder import Described, Embedder, Pool, Representation
from tape_bench.models.evidence import Evidence
from tape_bench.progress import Advance


@dataclass(frozen=True)
class Request:
    """What one task reads: proteins, one vector a residue or a protein, whole or in windows."""

    sequences: tuple[str, ...]
    pool: Pool
    window: int | None = None


@dataclass
class Embeddings:
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

    def fill(self, requests: Sequence[Request], progress: Advance | None = None) -> None:
        """Compute what is not there yet, as far as there is room for it.

        Raises:
            ModelError: see `represent`.
            StorageError: the disk is full or cannot be written.
        """
        if self.cache is None or self.cache.read_only:
            return
        # Other processes of this run may have added their shares since it was last looked at.
        self.cache.refresh()
        shares = self._shares(self.cache, requests)
        if not any(shares):
            return
        job = Job(shares, self.cache, self.tokens_per_batch)
        self.computed = self.computed.then(self.session.executor.run(job, progress))
        self.cache.refresh()

    def meet(self) -> Embeddings | None:
        """Wait for the other processes of this run; None if another goes on with what they made.

        Raises:
            PeerLostError: one of them has died.
        """
        met = self.session.executor.meet(self.computed)
        if met is None:
            return None
        executor, computed = met
        return replace(self, session=replace(self.session, executor=executor), computed=computed)

    def open(
        self, request: Request, progress: Advance | None = None
    ) -> CachedEmbeddings | Representations:
        """Return the representations of one task, computing those that are not there yet.

        Raises:
            ModelError: see `represent`.
            StorageError: the disk is full or cannot be written.
        """
        if self.cache is not None and not self._better_held_in_memory(request):
            self.fill([request], progress)
            return CachedEmbeddings(self.cache, request, Forward(self.model, self.tokens_per_batch))
        started = time.perf_counter()
        found = represent(
            self.model,
            request.sequences,
            request.pool,
            window=request.window,
            tokens_per_batch=self.tokens_per_batch,
            progress=progress,
        )
        seconds = time.perf_counter() - started
        again = found.launched.recomputed
        self.computed = self.computed.then(Computed(sum(map(len, found)), seconds, again))
        return found

    def _better_held_in_memory(self, request: Request) -> bool:
        """Tell whether a cache that cannot be added to lacks something of a request.

        Where it keeps half precision, what it lacks is computed each time: it rounds that alike.
        """
        cache = self.cache
        if cache is None or not cache.read_only or cache.stored != "float32":
            return False
        entries = entries_of(request.sequences, request.window).values()
        keys = [entry_key(entry.sequence, request.pool, entry.window) for entry in entries]
        cache.check(keys)
        return any(key not in cache for key in keys)

    @property
    def device(self) -> str:
        """Where the model computes, and so may what reads its representations."""
        return self.model.describe().device if isinstance(self.model, Described) else "cpu"

    @property
    def rate(self) -> float | None:
        """Residues a second through the model; None where none had to go through it."""
        done = self.computed
        return done.residues / done.seconds if done.residues else None

    def _shares(self, cache: Cache, requests: Sequence[Request]) -> list[Missing]:
        """Return what the cache lacks, in as many shares as there are to work on it.

        Who computes what follows from the needs alone, and not from what is there already: an
        interrupted run that goes on forms the same batches again, and gets the same values.
        """
        needed: dict[bytes, tuple[Entry, Pool]] = {}
        for request in requests:
            check_lengths(self.model, request.sequences, request.pool, request.window)
            for entry in entries_of(request.sequences, request.window).values():
                key = entry_key(entry.sequence, request.pool, entry.window)
                needed[key] = entry, request.pool
        cache.check(needed)
        lacking: dict[Entry, frozenset[Pool]] = {}
        there: list[bytes] = []
        for key, (entry, pool) in needed.items():
            if key in cache:
                there.append(key)
            else:
                lacking[entry] = lacking.get(entry, frozenset()) | {pool}
        used = cache.use(there)
        missing = self._that_fit(cache, lacking, used) if lacking else {}
        parts = self.session.executor.parts
        if parts == 1:
            return [missing]
        ordered = sorted({entry for entry, _ in needed.values()}, key=Entry.by_length)
        return [
            {entry: missing[entry] for entry in ordered[part::parts] if entry in missing}
            for part in range(parts)
        ]

    def _that_fit(self, cache: Cache, lacking: Missing, used: set[Path]) -> Missing:
        """Make room, and return what there is room for: the smallest, where not for all."""
        width = cache.hidden * width_of(cache.stored)

        def size(entry: Entry) -> int:
            pools = lacking[entry]
            residues = len(entry.sequence) if "residues" in pools else 0
            return width * (residues + len(pools - {"residues"}))

        needed = sum(map(size, lacking))
        limit = default_limit(cache.root) if self.limit is None else self.limit
        room = make_room(cache.root, needed, limit, used)
        if room >= needed:
            return lacking
        _tell_of_short_room(needed, room)
        ordered = sorted(lacking, key=lambda entry: (size(entry), entry.by_length()))
        ends = accumulate(map(size, ordered))
        fits = takewhile(lambda one: one[1] <= room, zip(ordered, ends, strict=True))
        return {entry: lacking[entry] for entry, _ in fits}


class CachedEmbeddings(Mapping[str, Representation]):
    """What one task reads, from the cache: `[residues, hidden]` a protein, or `[hidden]`.

    Read-only, and straight from the mapped files where they keep float32. What the cache had no
    room for is computed each time it is asked for.
    """

    def __init__(self, cache: Cache, request: Request, forward: Forward) -> None:
        """Lay out what a task needs."""
        self._cache = cache
        self._pool = request.pool
        self._forward = forward
        self._entries = entries_of(request.sequences, request.window)

    def __getitem__(self, sequence: str) -> Representation:
        entry = self._entries[sequence]
        vectors = self._cache.get(entry_key(sequence, self._pool, entry.window))
        if vectors is None:
            computed = self._forward([entry], [self._pool])[self._pool][0]
            # A score must not depend on how much room there was.
            return as_kept(computed, self._cache.stored)
        return vectors if self._pool == "residues" else vectors[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

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
def open_embeddings(
    session: Session,
    stored: Stored,
    *,
    tokens_per_batch: int | None = None,
    limit: int | None = None,
    anew: bool = False,
) -> Iterator[Embeddings]:
    """Open the representations of a session's model; see `Embeddings`.

    Ranks must leave what they compute where this process finds it: for a model that is not
    kept on disk, that is a temporary folder. With `anew`, nothing that was kept before is used.
    """
    model = session.model
    kept = kept_on_disk(model.identity)
    rests_on = session.identity.rests_on if kept else None
    cache = None
    if kept and (rests_on is None or rests_on.can_be_told_again):
        cache = _open_cache(model, stored, rests_on)
    if cache is not None:
        if anew:
            # Of several processes one clears up, before the others have written much.
            cache.forget(remove=session.executor.leads)
        yield Embeddings(session, cache, tokens_per_batch, limit)
    elif isinstance(session.executor, LocalProcesses) or (kept and session.executor.parts == 1):
        with temporary_folder() as root:
            yield Embeddings(session, Cache.of(model, stored, root), tokens_per_batch, limit)
    else:
        yield Embeddings(session, None, tokens_per_batch, limit)


def _open_cache(model: Embedder, stored: Stored, rests_on: Evidence | None) -> Cache | None:
    """Open the cache of a model, or warn and do without where it cannot be written."""
    try:
        return Cache.of(model, stored, paths.cache(), rests_on)
    except StorageError as error:
        warnings.warn(
            f"{error.what}: representations are kept for this command alone\n"
            f"  where: {error.where}\n  to do: choose another TAPE_BENCH_CACHE",
            stacklevel=4,
        )
        return None
