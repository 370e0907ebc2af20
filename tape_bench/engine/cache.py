"""The representation cache: what one model makes of a sequence is computed once, ever.

`<cache>/representations/<key>/` holds the segments of one model read in one way; the key is a
digest of everything that can change a value, which `about` lists. Which kernels computed is no
part of it: fused and reference kernels agree within rounding.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tape_bench.engine.segments import Segment, SegmentWriter
from tape_bench.engine.stored import Stored
from tape_bench.models.embedder import Embedder, Pool
from tape_bench.storage import replace

SCHEMA = 1
"""Raise it when our models compute other values, or a key means something else."""

ABOUT = "model.json"
"""Name of the file that says whose vectors a folder holds."""

_BATCHES_AHEAD = 2
"""Batches that may wait for the disk before the model waits, too."""


def folder_of(root: Path) -> Path:
    """Return where representations are kept under a cache root."""
    return root / "representations"


def about(model: Embedder, stored: Stored) -> dict[str, Any]:
    """List everything that can change a value, and so is part of the key.

    Weights are told by their digest, not by where they lie. A class that is not ours is told by
    its source file as well: nobody raises `SCHEMA` when that changes.
    """
    identity = model.identity
    vocabulary = getattr(model, "vocabulary", None)
    cls = type(model)
    ours = cls.__module__.startswith("tape_bench.")
    source = None if ours else inspect.getsourcefile(cls)
    return {
        "schema": SCHEMA,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "code": hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else None,
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
        self._places: dict[bytes, tuple[Segment, int, int, int]] = {}
        self.refresh()

    @classmethod
    def of(cls, model: Embedder, stored: Stored, root: Path) -> Cache:
        """Open a model's folder under a cache root.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        told = about(model, stored)
        key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
        folder = folder_of(root) / key[:32]
        names = {"name": model.identity.name, "spec": model.identity.spec}
        if not (folder / ABOUT).exists():
            replace(
                folder / ABOUT, lambda path: path.write_text(json.dumps(names | told, indent=1))
            )
        return cls(folder, model.identity.hidden_size, stored)

    @property
    def root(self) -> Path:
        """The cache root."""
        return self.folder.parent.parent

    def refresh(self) -> None:
        """Find what has been added since, by this process or another."""
        for path in sorted(self.folder.glob("*.index")):
            known = self._segments.get(path)
            with contextlib.suppress(OSError):
                if known is None or path.stat().st_size > known.records.nbytes:
                    self._take_in(Segment(path, self.hidden))

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """Return vectors `[rows, hidden]`, read-only, or None where there are none."""
        place = self._places.get(key)
        if place is None:
            return None
        segment, offset, rows, kind = place
        return segment.vectors(offset, rows, kind)

    def use(self, keys: Iterable[bytes]) -> set[Path]:
        """Mark the segments that hold these keys as used now, and return their index files."""
        used = {place[0].path for key in keys if (place := self._places.get(key))}
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
        rest = (segment.records[name].tolist() for name in ("offset", "rows", "kind"))
        for key, offset, rows, kind in zip(keys, *rest, strict=True):
            self._places[key] = (segment, offset, rows, kind)


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
