"""Tarballs unpacked whole or not at all, with a receipt that says what they were.

A tarball from a mirror is not trusted: a member that would land outside its folder, or is not a
plain file or folder, is refused before anything is written for it, and so is one that unpacks to
far more than such data ever does. What macOS packs beside each file (`._name`) is left out.
"""

from __future__ import annotations

import errno
import gzip
import json
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from tape_bench import memo, text
from tape_bench.atomic import storage_error
from tape_bench.bounded import parse_json, read_text
from tape_bench.data.digests import BLOCK, FileDigest, digest_of
from tape_bench.errors import DataError
from tape_bench.leftovers import private_folder, to_disk

RECEIPT = "tape-bench-receipt.json"

_LARGEST_HEADER = 1 << 20
"""Bytes of one header of a tar; the names in it have a few dozen."""

_MOST_MEMBERS = 10_000
"""Files and folders of a tarball; TAPE's have a few dozen."""

_OF_THE_MEMBER = (
    errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL,
    errno.EILSEQ, errno.ELOOP, errno.ENOENT,
)  # fmt: skip
"""Why the system refuses to make a file that says so itself: its name, or what stands there."""

_MOST_EXPANSION = 200
"""TAPE's tarballs unpack to about 25 times their size; a gzip bomb to a thousand times."""


@dataclass(frozen=True)
class Receipt:
    """What a folder was unpacked from, and what was in it then."""

    tarball: str
    """Name of the tarball."""
    md5: str
    sha256: str
    files: Mapping[str, str]
    """SHA-256 of each file by its path inside the folder; lock files, which change, left out."""

    def changes(self, folder: Path, cache: Path) -> list[str]:
        """List the files that are missing or no longer what was unpacked."""
        found = []
        for name, sha256 in self.files.items():
            if not (folder / name).is_file():
                found.append(f"{name} is missing")
            elif digest_of(folder / name, cache).sha256 != sha256:
                found.append(f"{name} is not what was unpacked")
        return found


def read_receipt(folder: Path) -> Receipt | None:
    """Return a folder's receipt, or None where it was not unpacked by us.

    Raises:
        DataError: it is damaged. Only the tarball could tell what stood in it.
    """
    path = folder / RECEIPT
    if not path.exists():
        return None

    def look() -> Receipt:
        found = Receipt(**parse_json(read_text(path)))
        told = [found.tarball, found.md5, found.sha256, *found.files, *found.files.values()]
        if not all(isinstance(word, str) for word in told):
            raise TypeError("a receipt is made of text")
        if any(
            PurePosixPath(name).is_absolute() or ".." in name.split("/") for name in found.files
        ):
            raise ValueError("a receipt names files of its own folder")
        return found

    receipt = memo.attempt(look)
    if receipt is None:
        raise DataError(
            "the receipt of this folder is damaged",
            where=str(path),
            fix="delete the folder and fetch the data again",
        )
    return receipt


def unpack(tarball: Path, digest: FileDigest, folder: str, into: Path, cache: Path) -> Path:
    """Unpack a tarball's one folder into `into`: the whole of it, or nothing.

    What a killed process has left there of the same folder goes.

    Args:
        tarball: a gzipped tar.
        digest: its digests, for the receipt.
        folder: name of the folder it must hold, e.g. `stability`.
        into: where the folder shall stand.
        cache: cache root, for digests.

    Returns:
        The folder, `into/folder`.

    Raises:
        DataError: cut short, not a gzipped tar, with unsafe members, or without the folder.
        StorageError: no room, or `into` cannot be written.
    """
    target = into / folder
    try:
        into.mkdir(parents=True, exist_ok=True)
        # Beside its final place, so that moving it there is one step.
        with private_folder(into, folder) as work:
            _extract(tarball, work, folder)
            _write_receipt(work / folder, tarball, digest, cache)
            for path in (*(work / folder).rglob("*"), work / folder):
                to_disk(path)
            _move(work / folder, target)
            to_disk(into)
    except OSError as error:
        raise storage_error(error, into) from error
    return target


class _Inflated:
    """What a gzipped file holds, to be read as far as there is room, and in no giant pieces."""

    def __init__(self, content: gzip.GzipFile, tarball: Path, room: int) -> None:
        self._content = content
        self._tarball = tarball
        self._room = room

    def read(self, size: int = -1) -> bytes:
        # Members are read in blocks; it is their headers alone that ask for all at once.
        if size < 0 or size > _LARGEST_HEADER:
            raise tarfile.ReadError("a header larger than any file's")
        found = self._content.read(size)
        if self._content.tell() > self._room:
            raise self.too_much()
        return found

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0 and place > self._room:
            raise self.too_much()
        return self._content.seek(place, whence)

    def tell(self) -> int:
        return self._content.tell()

    def too_much(self) -> DataError:
        return DataError(
            "the tarball unpacks to more than there is room for, or more than such data ever takes "
            f"({_MOST_EXPANSION} times its size)",
            where=str(self._tarball),
            fix="free some space, or fetch the data again from its source",
        )


def _extract(tarball: Path, into: Path, folder: str) -> None:
    try:
        room = min(tarball.stat().st_size * _MOST_EXPANSION + BLOCK, shutil.disk_usage(into).free)
        with gzip.open(tarball) as gzipped:
            content = _Inflated(gzipped, tarball, room)
            with tarfile.open(fileobj=content, mode="r:") as members:  # type: ignore[call-overload]
                _extract_members(members, content, room, tarball, into, folder)
            while content.read(BLOCK):  # to its end, where gzip's checksum stands
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError, ValueError) as error:
        raise DataError(
            f"the tarball is cut short or damaged ({text.line(str(error))})",
            where=str(tarball),
            fix="fetch it again",
        ) from error
    if not (into / folder).is_dir():
        raise DataError(
            f"the tarball has no folder {folder!r}",
            where=str(tarball),
            fix=f"it should hold {folder}/{folder}_train.lmdb and so on",
        )


def _extract_members(
    members: tarfile.TarFile,
    content: _Inflated,
    room: int,
    tarball: Path,
    into: Path,
    folder: str,
) -> None:
    for number, member in enumerate(members):
        if _is_of_mac(member):
            continue
        _refuse_unsafe(member, folder, tarball)
        room -= member.size
        if room < 0 or number == _MOST_MEMBERS:
            raise content.too_much()
        try:
            members.extract(member, into, filter="data")
        except OSError as error:
            if error.errno not in _OF_THE_MEMBER:
                raise
            raise DataError(
                f"the member {text.shown(member.name)} cannot be made: {error.strerror}",
                where=str(tarball),
                fix="fetch the data again from its source",
            ) from error


def _is_of_mac(member: tarfile.TarInfo) -> bool:
    parts = PurePosixPath(member.name).parts
    # Resource forks, as bsdtar packs them; they are no danger, and no data.
    return bool(parts) and (parts[-1].startswith("._") or "__MACOSX" in parts)


def _refuse_unsafe(member: tarfile.TarInfo, folder: str, tarball: Path) -> None:
    path = PurePosixPath(member.name)
    fault = None
    if path.is_absolute() or ".." in path.parts:
        fault = "would land outside its folder"
    elif not (member.isreg() or member.isdir()):
        fault = "is a link or a device"
    elif path.parts and path.parts[0] != folder:
        fault = f"is not in the folder {folder!r}"
    if fault:
        raise DataError(
            f"unsafe tarball: the member {text.shown(member.name)} {fault}; nothing was unpacked",
            where=str(tarball),
            fix="do not trust this file; fetch the data again from its source",
        )


def _write_receipt(folder: Path, tarball: Path, digest: FileDigest, cache: Path) -> None:
    files = {
        path.relative_to(folder).as_posix(): digest_of(path, cache).sha256
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock.mdb", RECEIPT)
    }
    receipt = Receipt(tarball.name, digest.md5, digest.sha256, files)
    (folder / RECEIPT).write_text(json.dumps(asdict(receipt), indent=1), encoding="utf-8")


def _move(made: Path, target: Path) -> None:
    made.chmod(0o755)
    try:
        made.rename(target)
    except OSError:
        # Another process was faster: what stands there is the same, and whole.
        if read_receipt(target) is None:
            raise
