"""Segments: the files that representations are kept in, and what a crash may do to them.

A segment is two files of one name. `.vectors` holds arrays end to end, little-endian; `.index`
holds one record for each of them, of fixed size, with a checksum of its own. Vectors reach the
disk before their index records do, so whenever a writer dies, every record that is whole points
at vectors that are whole, and anything after the last of them is ignored. A writer makes new
segments and never touches another's: any number of processes may write at once, on a network
file system too, without locks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from tape_bench.atomic import replace, storage_error
from tape_bench.cache.precision import KINDS, Stored, width_of

INDEX = np.dtype(
    [
        ("key", "V16"),
        ("offset", "<u8"),
        ("rows", "<u4"),
        ("kind", "<u4"),
        ("checksum", "<u4"),
        ("seal", "<u4"),
    ]
)
"""One index record: whose vectors, from which byte, how many rows, and CRC-32 of their bytes.

`seal` is a sum over the record's other words, each with a factor of its own: what is no record, or
one whose words have changed places, does not pass for one.
"""

SEGMENT_BYTES = 1 << 30
"""A segment that has reached this size gets a successor."""

_ATTEMPTS = 20
"""At beginning a segment in a folder that another process may be clearing."""

_FACTOR = 0x9E3779B97F4A7C15
_SEAL = 0x7A9EBE2C

_TOO_LARGE = 65_520
"""What float16 rounds to infinity."""

_FEW_ROWS = 8
"""Rows of an array up to which it is small."""


class SegmentWriter:
    """Appends vectors to segments of its own."""

    def __init__(self, folder: Path, stored: Stored) -> None:
        """Prepare to write into a folder; no file is made before there is something to keep."""
        self.folder = folder
        self.stored = stored
        self._vectors: BinaryIO | None = None
        self._index: BinaryIO | None = None
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def append(self, keys: Sequence[bytes], vectors: Sequence[NDArray[np.float32]]) -> None:
        """Keep vectors `[rows, hidden]` under keys of 16 bytes; on return they are on disk.

        Raises:
            StorageError: the disk is full or the folder cannot be written. What was kept before
                stays whole.
        """
        if not keys:
            return
        encoded = encode_many(vectors, self.stored)
        try:
            file, index = self._open()
            records = np.zeros(len(keys), INDEX)
            records["key"] = np.frombuffer(b"".join(keys), "V16")
            sizes = [len(content) for _, content in encoded]
            records["offset"] = self._size + np.cumsum([0, *sizes[:-1]])
            records["rows"] = [len(array) for array in vectors]
            records["kind"] = [KINDS.index(kind) for kind, _ in encoded]
            records["checksum"] = [zlib.crc32(content) for _, content in encoded]
            records["seal"] = _seals(records)
            for _, content in encoded:
                file.write(content)
            _to_disk(file)
            index.write(records.tobytes())
            _to_disk(index)
        except OSError as error:
            # The next vectors must not lie behind half-written ones.
            self._abandon()
            raise storage_error(error, self.folder) from error
        self._size += sum(sizes)
        if self._size >= SEGMENT_BYTES:
            self.close()

    def close(self) -> None:
        """Close the segment; a later `append` begins another."""
        # All of it is on the disk since the last `append`.
        self._abandon()

    def _abandon(self) -> None:
        for file in (self._vectors, self._index):
            if file is not None:
                # What could not be written is tried again, and cannot be written again.
                with contextlib.suppress(OSError):
                    file.close()
        self._vectors = self._index = None
        self._size = 0

    def _open(self) -> tuple[BinaryIO, BinaryIO]:
        if self._vectors is None or self._index is None:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._begin()
                except (FileNotFoundError, FileExistsError):  # the folder was cleared just then
                    self.close()
                    if attempt == _ATTEMPTS:
                        raise
                    time.sleep(0.002 * attempt)
                else:
                    break
        assert self._vectors is not None
        assert self._index is not None
        return self._vectors, self._index

    def _begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / uuid.uuid4().hex
        self._index = path.with_suffix(".index").open("xb")
        _try_lock(self._index)
        self._vectors = path.with_suffix(".vectors").open("xb")


class Segment:
    """A segment opened for reading: vectors are views of the mapped file."""

    def __init__(self, index: Path, hidden: int) -> None:
        """Open the segment of an index file; vectors are `hidden` wide.

        Raises:
            OSError: it cannot be read, or is gone: another run may have made room.
        """
        self.path = index
        self.hidden = hidden
        vectors = index.with_suffix(".vectors")
        with index.open("rb") as file:
            content = file.read()
        records = np.frombuffer(content[: len(content) // INDEX.itemsize * INDEX.itemsize], INDEX)
        whole = (records["seal"] == _seals(records)) & (records["kind"] < len(KINDS))
        self.records = records[whole]
        self.size = vectors.stat().st_size
        widths = np.array([width_of(kind) for kind in KINDS], np.uint64)
        ends = self.records["rows"].astype(np.uint64) * np.uint64(hidden)
        ends = ends * widths[self.records["kind"]] + self.records["offset"]
        # A sum that has run over is no place in a file, either.
        within = (ends <= self.size) & (self.records["offset"] <= self.size)
        self.records = self.records[within & (self.records["rows"] <= self.size)]
        empty = np.empty(0, np.uint8)
        # A mapping outlives the file's name: what is open stays readable when room is made.
        # It is private, not read-only, for torch would warn of that; and a plain array, for
        # a slice of a memmap takes longer than many a vector.
        self._bytes: NDArray[np.uint8] = (
            np.asarray(np.memmap(vectors, np.uint8, mode="c")) if self.size else empty
        )

    def content(self, record: Any) -> NDArray[np.uint8]:
        """Return the bytes an index record points at."""
        size = int(record["rows"]) * self.hidden * width_of(KINDS[record["kind"]])
        start = int(record["offset"])
        return self._bytes[start : start + size]

    def vectors(self, offset: int, rows: int, kind: int) -> NDArray[np.float32]:
        """Return vectors `[rows, hidden]`, read-only."""
        stored = KINDS[kind]
        end = offset + rows * self.hidden * width_of(stored)
        return decode(self._bytes[offset:end], stored).reshape(rows, self.hidden)

    def checksum(self, offset: int, rows: int, kind: int) -> int:
        """Return the CRC-32 of the bytes that vectors are kept as."""
        end = offset + rows * self.hidden * width_of(KINDS[kind])
        return zlib.crc32(self._bytes[offset:end].data)

    def strike(self, keys: Collection[bytes]) -> None:
        """Take entries out of the index file, unless somebody still writes it.

        Raises:
            StorageError: the folder cannot be written.
        """
        if not is_being_written(self.path):
            stay = [key not in keys for key in self.records["key"].tolist()]
            self.records = self.records[stay]
            replace(self.path, lambda path: path.write_bytes(self.records.tobytes()))

    def damaged(self) -> NDArray[np.bool_]:
        """Tell which records' vectors are not what was written, `[records]`."""
        checksums = [zlib.crc32(self.content(record).data) for record in self.records]
        found: NDArray[np.bool_] = np.array(checksums, np.uint32) != self.records["checksum"]
        return found


def is_being_written(index: Path) -> bool:
    """Tell whether a process has the segment of an index file open for writing."""
    try:
        with index.open("rb") as file:
            return not _try_lock(file)
    except OSError:
        return False


def encode_many(
    vectors: Sequence[NDArray[np.float32]], stored: Stored
) -> list[tuple[Stored, memoryview]]:
    """Take many arrays down to a precision; see `encode`."""
    rows = [len(array) for array in vectors]
    if sum(rows) > _FEW_ROWS * len(rows):
        return [encode(array, stored) for array in vectors]
    # Many small arrays are one large one: what numpy takes to begin is then taken once.
    kind, content = encode(np.concatenate(vectors), stored)
    if kind != stored:
        return [encode(array, stored) for array in vectors]
    ends = np.cumsum(rows) * (len(content) // sum(rows))
    starts = [0, *ends[:-1].tolist()]
    return [(kind, content[start:end]) for start, end in zip(starts, ends.tolist(), strict=True)]


def encode(vectors: NDArray[np.float32], stored: Stored) -> tuple[Stored, memoryview]:
    """Take vectors down to a precision; those too large for float16 stay float32."""
    vectors = np.ascontiguousarray(vectors, "<f4")
    if stored == "float32" or not vectors.size:
        return stored, _bytes_of(vectors)
    # numpy narrows one number after the other, torch eight at a time; and what never meets half
    # precision need not load it.
    import torch

    wide = torch.from_numpy(vectors)
    if stored == "bfloat16":
        return "bfloat16", _bytes_of(wide.bfloat16().view(torch.int16).numpy())
    low, high = wide.aminmax()
    if float(low) > -_TOO_LARGE and float(high) < _TOO_LARGE:
        return "float16", _bytes_of(wide.half().numpy())
    return "float32", _bytes_of(vectors)


def decode(content: NDArray[np.uint8], stored: Stored) -> NDArray[np.float32]:
    """Read vectors as float32, end to end and read-only; a view where they are kept so."""
    if stored == "float32":
        vectors: NDArray[np.float32] = content.view("<f4")
    else:
        # torch widens six times as fast as numpy; what never reads half precision need not load it.
        import torch

        half = torch.float16 if stored == "float16" else torch.bfloat16
        vectors = torch.from_numpy(content).view(half).float().numpy()
    vectors.flags.writeable = False
    return vectors


def as_kept(vectors: NDArray[np.float32], stored: Stored) -> NDArray[np.float32]:
    """Return vectors as they would be read back."""
    kind, content = encode(vectors, stored)
    # A copy, since torch warns of bytes that cannot be written to.
    return decode(np.frombuffer(bytearray(content), np.uint8), kind).reshape(vectors.shape)


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """View an array's bytes, without a copy."""
    flat: memoryview = array.reshape(-1).view(np.uint8).data
    return flat


def _seals(records: NDArray[Any]) -> NDArray[np.uint32]:
    words = np.ascontiguousarray(records).view("<u4").reshape(-1, INDEX.itemsize // 4)
    # A factor for each place, and the upper half of the sum: words that change places, or in two
    # places by the same, show.
    factors = np.uint64(_FACTOR) * np.arange(1, words.shape[1], dtype=np.uint64) | np.uint64(1)
    sums = (words[:, :-1] * factors).sum(axis=1, dtype=np.uint64)
    seals: NDArray[np.uint32] = (sums >> np.uint64(32)).astype(np.uint32) ^ np.uint32(_SEAL)
    return seals


def _try_lock(file: BinaryIO) -> bool:
    """Lock a file until it is closed, unless another process has.

    It is the index file itself that is locked, so that no lock is left beside it, and the system
    lets go of it when the writer dies: filelock would need a file of its own.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    getattr(os, "fdatasync", os.fsync)(file.fileno())
