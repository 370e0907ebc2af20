"""Digests of files, remembered for as long as a file stays the same."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tape_bench import memo
from tape_bench.errors import DataError, StorageError

BLOCK = 1 << 20
"""Bytes read at once."""

_SETTLED_SECONDS = 2.0
"""A file changed more recently may change again without its time stamp showing it."""


@dataclass(frozen=True)
class FileDigest:
    """What a file's content hashes to."""

    md5: str
    """What TAPE's mirrors and other projects publish."""
    sha256: str


def digest_of(file: Path, cache: Path) -> FileDigest:
    """Return a file's digests, read from the cache where the file has not changed since.

    Args:
        file: any file.
        cache: cache root; digests are kept by path, size, times and inode.

    Raises:
        DataError: the file cannot be read.
    """

    def make() -> str:
        found = read_digest(file)
        return f"{found.md5} {found.sha256}"

    try:
        md5, sha256 = remembered([file], "content", cache, make).split()
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(file)) from error
    return FileDigest(md5, sha256)


def remembered(files: Sequence[Path], what: str, cache: Path, make: Callable[[], str]) -> str:
    """Return the digests that `make` takes of files, from the cache if no file has changed since.

    Args:
        files: what the digests follow from; they are told by path, size, times and inode.
        what: all else that the digests follow from.
        cache: cache root. One that cannot be written costs time, nothing else.
        make: computes digests in hexadecimal, with spaces between them.

    Raises:
        OSError: a file is not there.
    """
    identity, changed = [what], 0.0
    for file in files:
        stat = file.stat()
        changed = max(changed, stat.st_mtime, stat.st_ctime)
        times = f"{stat.st_mtime_ns} {stat.st_ctime_ns}"
        identity.append(f"{file.absolute()} {stat.st_size} {times} {stat.st_dev} {stat.st_ino}")
    of = hashlib.sha256(os.fsencode("\n".join(identity))).hexdigest()
    note = cache / "digests" / of[:32]
    known = _recall(note, of)
    if known is not None:
        return known
    found = make()
    if time.time() - changed > _SETTLED_SECONDS:
        with contextlib.suppress(StorageError):
            memo.write(note, {"of": of, "digests": found})
    return found


def read_digest(file: Path) -> FileDigest:
    """Hash a file's content, both ways in one pass."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(BLOCK):
            md5.update(block)
            sha256.update(block)
    return FileDigest(md5.hexdigest(), sha256.hexdigest())


def _recall(note: Path, of: str) -> str | None:
    told = memo.read(note) or {}
    return str(told["digests"]) if told.get("of") == of else None
