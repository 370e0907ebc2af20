"""TAPE's tarballs from mirrors, or from where TAPE keeps them: checked, then unpacked whole."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock, Timeout

from tape_bench import paths, text
from tape_bench.atomic import storage_error
from tape_bench.cards import TaskCard
from tape_bench.data.digests import FileDigest, read_digest
from tape_bench.data.fetch.http import Received, download, read_small
from tape_bench.data.fetch.tarballs import read_receipt, unpack
from tape_bench.data.locate import find_tarball
from tape_bench.errors import DataError, DownloadError

PARTIAL = ".partial"
"""Folder in the data root where unfinished downloads wait to be taken up again."""

_CHECKSUM = re.compile(rb"[0-9a-fA-F]{32,64}\b")


@dataclass(frozen=True)
class Fetched:
    """A task's data in the data root."""

    task: str
    folder: Path
    origin: str | None
    """Address or file the tarball came from; None where the data were there before."""
    md5: str | None
    """Digest of the tarball; None where the folder was not unpacked by us."""


@dataclass(frozen=True)
class _Origin:
    """One place to try for a tarball."""

    address: str
    md5: str | None = None
    """What the file must hash to, for TAPE's own addresses."""

    @property
    def shown(self) -> str:
        """The address for messages and receipts, without a password."""
        return text.without_password(self.address)

    @property
    def local(self) -> Path | None:
        """The path, unless this is an address on the network."""
        parts = urlsplit(self.address)
        if parts.scheme == "file":
            return Path(url2pathname(parts.path))
        return None if "://" in self.address else paths.expand(self.address)


def fetch(
    card: TaskCard, mirrors: Iterable[str], root: Path, progress: Received | None = None
) -> Fetched:
    """Put a task's data into the data root, unless they are there already.

    Mirrors are tried in the order given, TAPE's own addresses last. What TAPE's addresses give
    must have the card's md5; what a mirror gives must agree with a `.md5` or `.sha256` file
    beside it, if there is one, and is otherwise taken for what it is: `status` says whether it
    is TAPE's.

    Args:
        card: the task.
        mirrors: addresses (http, https, file) or folders that hold `<folder>.tar.gz`.
        root: data root.
        progress: called with bytes received and bytes in all.

    Raises:
        DownloadError: no mirror gave a whole, safe tarball; lists what each one answered.
        StorageError: the disk is full or `root` cannot be written.
    """
    target = root / card.source.folder
    if target.is_dir():
        return _present(card, target)
    work = root / PARTIAL / card.source.folder
    answers = []
    with _alone(work):
        if target.is_dir():  # another process was faster
            return _present(card, target)
        for origin in _origins(card, mirrors):
            try:
                digest = _fetch_from(origin, card.source.folder, root, work, progress)
            except DataError as error:
                answers.append(f"  - {origin.shown}: {error.what}")
            else:
                shutil.rmtree(work, ignore_errors=True)
                return Fetched(card.name, target, origin.shown, digest.md5)
    raise DownloadError(
        f"no data for the task {card.name}:\n" + ("\n".join(answers) or "  - nowhere to look"),
        fix="name a mirror with --mirror, or put the files there by hand "
        f"({card.source.homepage or card.source.folder})",
    )


def _present(card: TaskCard, target: Path) -> Fetched:
    receipt = read_receipt(target)
    return Fetched(card.name, target, None, receipt.md5 if receipt else None)


def _lock(lock: FileLock, work: Path) -> None:
    for attempt in range(10):
        try:
            work.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            return
        except (FileNotFoundError, FileExistsError):
            # Another process has finished, and removes the folders that held its own work.
            if attempt == 9:
                raise
            time.sleep(0.01)


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keep other processes from fetching the same task into the same root."""
    lock = FileLock(work / ".lock", timeout=0)
    try:
        _lock(lock, work)
    except Timeout as error:
        raise DownloadError(
            "another process is fetching these data just now",
            where=str(work),
            fix="wait for it to finish",
        ) from error
    except OSError as error:
        raise storage_error(error, work) from error
    try:
        yield
    finally:
        # While it is still held: filelock takes no lock on a file that has gone.
        Path(lock.lock_file).unlink(missing_ok=True)
        for folder in (work, work.parent):
            with suppress(OSError):
                folder.rmdir()  # where nothing waits to be taken up again
        lock.release()


def _origins(card: TaskCard, mirrors: Iterable[str]) -> Iterator[_Origin]:
    name = f"{card.source.folder}.tar.gz"
    for mirror in mirrors:
        on_network = _Origin(mirror).local is None
        complete = mirror.endswith(f"/{name}") or not on_network
        yield _Origin(mirror if complete else f"{mirror.rstrip('/')}/{name}")
    for url in card.source.urls:
        yield _Origin(url, md5=card.source.md5)


def _fetch_from(
    origin: _Origin, folder: str, root: Path, work: Path, progress: Received | None
) -> FileDigest:
    """Fetch, check and unpack the tarball of one origin. Raises DataError if that fails."""
    if origin.local is not None:
        tarball = origin.local if origin.local.is_file() else find_tarball(folder, origin.local)
        if tarball is None:
            raise DownloadError(f"has no {folder}.tar.gz", where=str(origin.local))
        return _check_and_unpack(tarball, _local_checksums(tarball), folder, root)
    part = work / hashlib.sha256(origin.address.encode()).hexdigest()[:16]
    tarball = part / f"{folder}.tar.gz"
    download(origin.address, tarball, progress)
    checksums = [origin.md5.encode()] if origin.md5 else _published_checksums(origin.address)
    try:
        return _check_and_unpack(tarball, checksums, folder, root)
    except DataError:
        shutil.rmtree(part, ignore_errors=True)  # a bad file must not be taken up again
        raise


def _check_and_unpack(tarball: Path, checksums: list[bytes], folder: str, root: Path) -> FileDigest:
    try:
        digest = read_digest(tarball)
    except OSError as error:
        raise storage_error(error, tarball) from error
    for checksum in checksums:
        wanted = checksum.decode().lower()
        found = digest.md5 if len(wanted) == len(digest.md5) else digest.sha256
        if found != wanted:
            raise DataError(
                f"wrong checksum: it is {found}, and should be {wanted}", where=str(tarball)
            )
    unpack(tarball, digest, folder, root, paths.cache())
    return digest


def _published_checksums(address: str) -> list[bytes]:
    found = (read_small(address + suffix) for suffix in (".sha256", ".md5"))
    return _checksums(found)


def _local_checksums(tarball: Path) -> list[bytes]:
    beside = (tarball.with_name(tarball.name + suffix) for suffix in (".sha256", ".md5"))
    return _checksums(path.read_bytes() if path.is_file() else None for path in beside)


def _checksums(contents: Iterable[bytes | None]) -> list[bytes]:
    """Return the digests that begin these files; other files, as error pages, hold none."""
    found = (_CHECKSUM.match(content) for content in contents if content)
    return [match[0] for match in found if match and len(match[0]) in (32, 64)]
