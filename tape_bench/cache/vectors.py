"""The representation cache: what one model makes of a sequence is computed once, ever.

`<cache>/representations/<key>/` holds the segments of one model read in one way; the key is a
digest of everything that can change a value, which `about` lists. Which kernels computed is no
part of it: fused and reference kernels agree within rounding. Where a user's model that looks the
same answers otherwise than it did, its vectors go to a folder of another number.

Vectors are read against their checksums when they are first used: damaged ones are taken out of
the index, and are then computed again like any that are not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import tempfile
import warnings
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tape_bench import memo
from tape_bench.atomic import replace, storage_error
from tape_bench.bounded import parse_json, read_text
from tape_bench.cache.precision import Stored
from tape_bench.cache.segments import Segment, SegmentWriter, is_being_written
from tape_bench.errors import StorageError
from tape_bench.models.embedder import Embedder, HasVocabulary, Pool
from tape_bench.models.evidence import Evidence, agree, is_ours

SCHEMA = 1
"""Raise it when our models compute other values, or a key means something else."""

ABOUT = "model.json"
"""Name of the file that says whose vectors a folder holds."""

_READERS = 2
"""Threads that read checksums: that keeps ahead of most disks."""

_READ_AT_ONCE = 256
"""Entries a thread takes at a time: one vector each is too little to hand over."""

_BATCHES_AHEAD = 2
"""Batches that may wait for the disk before the model waits, too."""


def folder_of(root: Path) -> Path:
    """Return where representations are kept under a cache root."""
    return root / "representations"


def about(model: Embedder, stored: Stored, rests_on: Evidence | None = None) -> dict[str, Any]:
    """List everything that can change a value, and so is part of the key.

    Weights are told by their digest, not by where they lie. A class that is not ours is told by
    what it is seen to rest on as well: nobody raises `SCHEMA` when that changes.
    """
    identity = model.identity
    vocabulary = model.vocabulary if isinstance(model, HasVocabulary) else None
    cls = type(model)
    ours = is_ours(model)
    return {
        "schema": SCHEMA,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "code": rests_on.digest if rests_on else None,
        "revision": None if ours else identity.revision,
        "weights": identity.weights_digest,
        "hidden": identity.hidden_size,
        "dtype": identity.dtype,
        "layer": identity.layer,
        "reading": dict(sorted(identity.reading.items())),
        "tokens": hashlib.sha256(repr(vocabulary).encode()).hexdigest() if vocabulary else None,
        "stored": stored,
    }


def entry_key(sequence: str, pool: Pool, window: int | None) -> bytes:
    """Return the key of one representation within a model's folder, 16 bytes.

    Args:
        sequence: the protein.
        pool: how its residues are pooled.
        window: residues read at once, for a protein longer than that; None if it is read whole.
    """
    text = f"{pool} {window} {sequence}"
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


class Cache:
    """The kept representations of one model, in one folder."""

    def __init__(self, folder: Path, hidden: int, stored: Stored) -> None:
        """Open a folder whose vectors are `hidden` wide, and find what is there."""
        self.folder = folder
        self.hidden = hidden
        self.stored = stored
        self._segments: dict[Path, Segment] = {}
        self._places: dict[bytes, _Place] = {}
        self._warned = False
        self.read_only = False
        """True where nothing can be added to what is there."""
        self.refresh()

    @classmethod
    def of(
        cls, model: Embedder, stored: Stored, root: Path, rests_on: Evidence | None = None
    ) -> Cache:
        """Open a model's folder under a cache root.

        Args:
            model: whose representations they are.
            stored: the precision they are kept in.
            root: the cache root.
            rests_on: what a model is seen to rest on that is not one of ours.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        told = about(model, stored, rests_on)
        key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        folder = folder_of(root) / key[:32]
        names = {"name": model.identity.name, "spec": model.identity.spec}
        if rests_on is not None:
            folder = _of_the_same_answers(folder, rests_on.probes)
            told["probes"] = rests_on.probes
        if told_of(folder).get("hidden") != model.identity.hidden_size:
            replace(
                folder / ABOUT, lambda path: path.write_text(json.dumps(names | told, indent=1))
            )
        cache = cls(folder, model.identity.hidden_size, stored)
        try:
            _check_writable(folder)
        except StorageError:
            if not cache._places:
                raise
            # As of somebody who lets others use it: what is there can be read.
            cache.read_only = True
        return cache

    @property
    def root(self) -> Path:
        """The cache root."""
        return self.folder.parent.parent

    def refresh(self) -> None:
        """Find what has been added since, by this process or another."""
        for path in listed(self.folder, "*.index"):
            known = self._segments.get(path)
            if known is None or _size_of(path) > known.records.nbytes:
                segment = memo.attempt(partial(Segment, path, self.hidden))
                if segment is not None:
                    self._take_in(segment)

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """Return vectors `[rows, hidden]`, read-only, or None where there are none."""
        place = self._places.get(key)
        if place is None:
            return None
        if place.checksum is not None:
            self.check([key])
            return self.get(key)
        return place.segment.vectors(place.offset, place.rows, place.kind)

    def check(self, keys: Iterable[bytes]) -> None:
        """See that the vectors of these keys are what was written, once a process.

        Damaged ones are taken out, here and in their index, and are then not there any more.
        """
        unread = {key: p for key in keys if (p := self._places.get(key)) and p.checksum is not None}
        # In the order they lie in the files.
        ordered = sorted(unread.items(), key=lambda entry: (entry[1].segment.path, entry[1].offset))
        damaged: dict[Path, list[bytes]] = {}
        with ThreadPoolExecutor(max_workers=_READERS) as readers:
            starts = range(0, len(ordered), _READ_AT_ONCE)
            runs = (ordered[start : start + _READ_AT_ONCE] for start in starts)
            sums = itertools.chain.from_iterable(readers.map(_checksums, runs))
            for (key, place), found in zip(ordered, sums, strict=True):
                if found == place.checksum:
                    self._places[key] = _Place(*place[:4], None)
                else:
                    damaged.setdefault(place.segment.path, []).append(key)
                    del self._places[key]
        for path, lost in damaged.items():
            with contextlib.suppress(StorageError):
                self._segments[path].strike(set(lost))
        if damaged and not self._warned:
            self._warned = True
            _tell_of_damage(sum(map(len, damaged.values())), self.folder)

    def forget(self, *, remove: bool = True) -> None:
        """Begin anew: what has been kept of this model so far is not used here, and goes.

        What another process is writing stays on disk; and so does everything without `remove`.
        """
        self.refresh()
        self._places.clear()
        for path in self._segments:
            if remove and not is_being_written(path):
                remove_segment(path)

    def use(self, keys: Iterable[bytes]) -> set[Path]:
        """Mark the segments that hold these keys as used now, and return their index files."""
        used = {place.segment.path for key in keys if (place := self._places.get(key))}
        for path in used:
            with contextlib.suppress(OSError):
                os.utime(path)
        return used

    def writer(self) -> BackgroundWriter:
        """Return a writer into this folder; enter it to write."""
        return BackgroundWriter(SegmentWriter(self.folder, self.stored))

    def _take_in(self, segment: Segment) -> None:
        self._segments[segment.path] = segment
        keys = segment.records["key"].tolist()
        names = ("offset", "rows", "kind", "checksum")
        rest = (segment.records[name].tolist() for name in names)
        for key, *place in zip(keys, *rest, strict=True):
            self._places[key] = _Place(segment, *place)


class _Place(NamedTuple):
    """Where vectors lie."""

    segment: Segment
    offset: int
    rows: int
    kind: int
    checksum: int | None
    """Of their bytes; None once they have been read against it."""

    def found(self) -> int:
        """Return the checksum of the bytes as they are."""
        return self.segment.checksum(self.offset, self.rows, self.kind)


def _checksums(entries: Sequence[tuple[bytes, _Place]]) -> list[int]:
    return [place.found() for _, place in entries]


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return what a folder holds, in order; nothing where it has gone: another may clear it."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileNotFoundError, FileExistsError):
        pass  # cleared just then; it is made again
    except OSError as error:
        raise storage_error(error, folder) from error


def told_of(folder: Path) -> dict[str, Any]:
    """Return what a folder says of itself, as far as it can be read."""
    told = memo.attempt(lambda: parse_json(read_text(folder / ABOUT)))
    return told if isinstance(told, dict) else {}


def remove_segment(index: Path) -> None:
    """Remove the two files of a segment."""
    # The index goes first: vectors that nothing leads to harm nobody.
    for path in (index, index.with_suffix(".vectors")):
        with contextlib.suppress(OSError):
            path.unlink()


def _of_the_same_answers(folder: Path, answers: Sequence[float | None]) -> Path:
    """Return the first folder of this name that holds the same answers, or nothing yet."""
    for number in itertools.count(1):
        numbered = folder.with_name(f"{folder.name}-{number}")
        if not numbered.exists():
            return numbered
        kept = told_of(numbered).get("probes")
        if memo.attempt(partial(agree, kept or (), answers)):
            return numbered
    raise AssertionError("a count has no end")


def _size_of(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def _tell_of_damage(count: int, folder: Path) -> None:
    those = "representation is" if count == 1 else "representations are"
    warnings.warn(
        f"{count} kept {those} not what was written, and will be computed again\n"
        f"  where: {folder}\n"
        "  to do: if it happens again, look at the disk; `tape-bench cache verify` reads all",
        stacklevel=4,
    )


class BackgroundWriter:
    """Writes on a thread of its own, so that the model need not wait for the disk."""

    def __init__(self, writer: SegmentWriter) -> None:
        """Write through `writer`."""
        self._writer = writer
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            if kind is None:
                self._wait_for_all_but(0)
        finally:
            # Leaving on an error or Ctrl-C, too, what was put is written to its end.
            self._thread.shutdown(wait=True)
            self._writer.close()

    def put(self, keys: Sequence[bytes], vectors: Sequence[NDArray[np.float32]]) -> None:
        """Have vectors `[rows, hidden]` written; the arrays must not be changed afterwards.

        Raises:
            StorageError: an earlier batch could not be written.
        """
        self._waiting.append(self._thread.submit(self._writer.append, keys, vectors))
        self._wait_for_all_but(_BATCHES_AHEAD)

    def _wait_for_all_but(self, ahead: int) -> None:
        while len(self._waiting) > ahead:
            self._waiting.popleft().result()
