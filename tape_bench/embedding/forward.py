"""Batches through a model: formed by length, checked, and halved where memory runs out."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from tape_bench.embedding.windows import stitch, windows
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.embedder import (
    Batch,
    Embedder,
    Packed,
    PackedEmbedder,
    Partial,
    Pool,
    QueuedEmbedder,
    Representation,
)
from tape_bench.models.packing import pack
from tape_bench.models.user_code import is_users, users_code

PADDED_TOKENS = 8192
"""Residues, padding counted, that a model which pads is given at once."""

Found = dict[Pool, Batch]
"""By pooling, the representations of a batch."""


@dataclass
class Launched:
    """What a model was given so far, as it tells itself."""

    launches: int = 0
    tokens: int = 0
    """Special ones and padding included."""
    recomputed: int = 0
    """Sequences whose values overflowed in half precision and were computed again."""


class Entry(NamedTuple):
    """A sequence, and how it is read."""

    sequence: str
    window: int | None = None
    """Residues read at once, where the protein is longer than that; None if it is read whole."""

    def by_length(self) -> tuple[int, str, int]:
        """Return what entries are sorted by: the longest first, and never a tie."""
        return -len(self.sequence), self.sequence, self.window or 0


class Forward:
    """A model and the batches it is given."""

    def __init__(self, model: Embedder, tokens_per_batch: int | None = None) -> None:
        """Prepare batches of so many tokens; as many as the model finds good if None.

        Raises:
            UsageError: the model represents nothing, like a control that scores variants.
        """
        if not isinstance(model, Embedder):
            raise UsageError(
                f"{model.identity.name} represents no sequences",
                where=f"adapter {type(model).__module__}.{type(model).__qualname__}",
                fix="choose a model that does; `mutations` and `blosum62` score variants, under "
                "--protocol zero_shot",
            )
        self.model = model
        self.launched = Launched()
        """Counted for a `PackedEmbedder` only."""
        self._fits = sys.maxsize
        self._packed = model if isinstance(model, PackedEmbedder) else None
        self._queued = model if isinstance(model, QueuedEmbedder) else None
        self._is_users = is_users(model)
        self._given = tokens_per_batch

    def batches(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        """Share distinct entries out, longest first; one that needs windows goes alone.

        The order in which entries are given changes nothing.
        """
        ordered = sorted(set(entries), key=Entry.by_length)
        yield from ([entry] for entry in ordered if entry.window)
        whole = [entry for entry in ordered if not entry.window]
        if not whole:
            return
        good = self._packed.tokens_per_launch() if self._packed else PADDED_TOKENS
        budget = self._given or good
        special = self._packed.special_tokens if self._packed else 0
        lengths = [len(entry.sequence) + special for entry in whole]
        for batch in pack(lengths, budget, padded=self._packed is None):
            yield [whole[index] for index in batch]

    def __call__(self, batch: Sequence[Entry], pools: Sequence[Pool]) -> Found:
        """Represent a batch, in each of these poolings.

        Raises:
            ModelError: the memory does not even hold one sequence, or representations of the
                wrong number, shape or type, or with values that are not finite.
        """
        return self._begin(batch, pools)()

    def each(
        self,
        batches: Iterable[list[Entry]],
        pools_of: Callable[[Sequence[Entry]], Sequence[Pool]],
    ) -> Iterator[tuple[list[Entry], Found]]:
        """Represent batch after batch; the next is begun before the last one's vectors are here.

        Args:
            batches: as `batches` shares them out.
            pools_of: how the sequences of a batch are pooled.

        Raises:
            ModelError: see `__call__`.
        """
        ahead = self._queued.launches_ahead if self._queued else 0
        begun: deque[tuple[list[Entry], Callable[[], Found]]] = deque()
        for batch in batches:
            begun.append((batch, self._begin(batch, pools_of(batch))))
            if len(begun) > ahead:
                first, finish = begun.popleft()
                yield first, finish()
        for first, finish in begun:
            yield first, finish()

    def _begin(self, batch: Sequence[Entry], pools: Sequence[Pool]) -> Callable[[], Found]:
        """Have a batch computed, and return what waits for it."""
        if batch[0].window:
            assert len(batch) == 1
            return lambda: {pool: [self._in_windows(batch[0], pool)] for pool in pools}
        sequences = [entry.sequence for entry in batch]
        by_itself = partial(self._whole, sequences, pools)
        if self._queued is None or sum(map(len, sequences)) > self._fits:
            return by_itself
        try:
            with self._models_code():
                collect = self._queued.queue_packed(sequences, pools)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            # When its turn comes, it has the memory to itself.
            return by_itself

        def finish() -> Found:
            try:
                with self._models_code():
                    packed = collect()
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                return by_itself()
            return self._taken(sequences, packed, pools)

        return finish

    def _whole(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Found:
        residues = sum(map(len, sequences))
        try:
            if residues <= self._fits or len(sequences) == 1:
                return self._launch(sequences, pools)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(sequences) == 1:
                raise ModelError(
                    f"the memory does not hold a protein of {len(sequences[0])} residues",
                    where=f"{self.model.identity.name}, {self.model.identity.dtype}",
                    fix="shorten it by the length policy truncate or window, or read the model "
                    "in half precision",
                ) from None
            # Batches to come are not tried at a size that has failed.
            self._fits = residues // 2
        # Out of the handler, or the traceback would keep the failed batch's memory alive.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        middle = len(sequences) // 2
        first, second = (
            self._whole(half, pools) for half in (sequences[:middle], sequences[middle:])
        )
        return {pool: [*first[pool], *second[pool]] for pool in pools}

    def _launch(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Found:
        with self._models_code():
            if self._packed is not None:
                packed = self._packed.embed_packed(sequences, pools)
                return self._taken(sequences, packed, pools)
            found: Found = {pool: self.model.embed(list(sequences), pool) for pool in pools}
        for pool, representations in found.items():
            self._check(sequences, representations, pool)
        return found

    def _taken(self, sequences: Sequence[str], packed: Packed, pools: Sequence[Pool]) -> Found:
        """Count a launch, and take its representations."""
        with self._models_code():
            found = {pool: packed.representations[pool] for pool in pools}
        # Queued models of ours have looked at every number already, where it was computed.
        if self._queued is None or self._is_users:
            for pool, representations in found.items():
                self._check(sequences, representations, pool)
        self.launched.launches += 1
        self.launched.tokens += packed.tokens
        self.launched.recomputed += packed.recomputed
        return found

    def _models_code(self) -> AbstractContextManager[None]:
        return users_code(
            f"the model {self.model.identity.name}: embed()",
            unless=lambda error: out_of_memory(error) or not self._is_users,
        )

    def _in_windows(self, entry: Entry, pool: Pool) -> Representation:
        sequence, width = entry
        assert width is not None
        cuts = windows(len(sequence), width)
        pieces = [sequence[cut.start : cut.stop] for cut in cuts]
        # One after the other: together they would be as long as no batch is meant to be.
        read = [self._whole([piece], ["residues"])["residues"][0] for piece in pieces]
        residues = stitch(cuts, read)
        return residues if pool == "residues" else residues.mean(axis=0)

    def _check(self, sequences: Sequence[str], found: Batch, pool: Pool) -> None:
        name, hidden = self.model.identity.name, self.model.identity.hidden_size
        if not hasattr(found, "__len__"):
            raise _broken(name, f"a {type(found).__name__} instead of a list")
        if len(found) != len(sequences):
            raise _broken(name, f"{len(found)} representations for {len(sequences)} sequences")
        for sequence, representation in zip(sequences, found, strict=True):
            shape = (len(sequence), hidden) if pool == "residues" else (hidden,)
            kind = f"a {type(representation).__name__} that is no array of numbers"
            try:
                numbers = np.asarray(representation)
            except (ValueError, TypeError, RuntimeError) as error:
                raise _broken(name, f"{kind} ({error})", about=sequence) from error
            if numbers.dtype.kind not in "fiub":
                raise _broken(name, kind, about=sequence)
            if numbers.shape != shape:
                raise _broken(name, f"shape {numbers.shape} instead of {shape}", about=sequence)
            if not np.isfinite(numbers).all():
                raise _broken(name, "values that are not finite", about=sequence)


def entries_of(sequences: Iterable[str], window: int | None) -> dict[str, Entry]:
    """Say how each distinct sequence is read: whole, or in windows where it is longer."""
    return {
        sequence: Entry(sequence, window if window and len(sequence) > window else None)
        for sequence in sequences
    }


def check_lengths(
    model: Embedder, sequences: Iterable[str], pool: Pool, window: int | None
) -> None:
    """See that the model can read every sequence whole, or in windows of this many residues.

    Raises:
        ModelError: it cannot.
    """
    sequences = list(sequences)
    longest = model.identity.longest_input
    lengths = {len(sequence): sequence for sequence in sequences}
    if 0 in lengths:
        raise ModelError("an empty sequence has no representation", fix="remove the record")
    if window is not None and longest is not None and window > longest:
        raise ModelError(
            f"windows of {window} residues are too wide for {model.identity.name}",
            fix=f"use windows of at most {longest} residues",
        )
    if isinstance(model, Partial):
        model.check_sequences(sequences)
    reach = longest if window is None else window
    most = max(lengths, default=0)
    if reach is None or most <= reach:
        return
    if window is None:
        raise ModelError(
            f"a protein of {most} residues is longer than the {longest} that "
            f"{model.identity.name} reads",
            where=f"sequence {_short(lengths[most])}",
            fix="choose the length policy skip, truncate or window",
        )
    if pool == "first":
        raise ModelError(
            "windows cannot be pooled by the first token: each would have its own",
            fix="use pool 'mean', or the length policy skip or truncate",
        )


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out."""
    # On a CPU torch has no type for it, only words.
    words = ("out of memory", "can't allocate memory", "cannot allocate memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        said in str(error).lower() for said in words
    )


def _broken(name: str, gave: str, about: str | None = None) -> ModelError:
    return ModelError(
        f"the model {name} gave {gave}",
        where=f"sequence {_short(about)}" if about else None,
        fix="correct the model's embed(); in half precision, try float32",
    )


def _short(sequence: str) -> str:
    return f"{sequence[:20]}… ({len(sequence)} residues)" if len(sequence) > 24 else sequence
