"""One file over HTTP, taken up again where it was cut."""

from __future__ import annotations

import http.client
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tape_bench import text
from tape_bench.atomic import storage_error
from tape_bench.errors import DownloadError, StorageError

Received = Callable[[int, int | None], None]
"""Called with bytes received and bytes in all, None where the server does not say."""

TIMEOUT = 30.0
"""Seconds without an answer after which a server counts as silent."""

_BLOCK = 1 << 16
_NETWORK_ERRORS = (URLError, http.client.HTTPException, ConnectionError, TimeoutError)
_RANGE_NOT_SATISFIABLE = 416


def download(url: str, part: Path, progress: Received | None = None) -> None:
    """Fetch a file, going on from what an earlier attempt left.

    A cut connection is taken up again for as long as every attempt brings something. What was
    received stays in `part`, with the server's mark of the file's version beside it, so that
    pieces of two versions are never joined.

    Args:
        url: http or https address.
        part: where the bytes go; complete when this returns.
        progress: called after every block.

    Only one process at a time may fetch into `part`.

    Raises:
        DownloadError: what the server answered, in words.
        StorageError: the disk is full or the folder cannot be written.
    """
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("ab") as file:
                while not _attempt(url, file, _version_file(part), progress):
                    pass
        finally:
            if part.exists() and not part.stat().st_size:
                part.unlink()
    except HTTPError as error:
        raise DownloadError(
            f"answered {error.code} {error.reason}", where=text.without_password(url)
        ) from error
    except _NETWORK_ERRORS as error:
        reason = getattr(error, "reason", error) or type(error).__name__
        raise DownloadError(
            f"gave no answer ({reason})", where=text.without_password(url)
        ) from error
    except ValueError as error:
        raise DownloadError("is no address", where=text.without_password(url)) from error
    except OSError as error:
        raise storage_error(error, part) from error


def read_small(url: str, most: int = 4096) -> bytes | None:
    """Fetch a file of a few lines; None if it is not to be had."""
    try:
        with urlopen(_request(url), timeout=TIMEOUT) as response:
            content: bytes = response.read(most)
            return content
    except (*_NETWORK_ERRORS, ValueError):
        return None


def _attempt(url: str, file: IO[bytes], version_file: Path, progress: Received | None) -> bool:
    """Receive as much as one connection gives; tell whether the file is complete."""
    have = file.seek(0, 2)
    version = version_file.read_text(encoding="latin-1") if version_file.exists() else ""
    request = _request(url)
    if have and version:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", version)
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != _RANGE_NOT_SATISFIABLE or not have:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return True
        file.truncate(0)
        return False
    with response:
        start = have if _continues(response, have) else 0
        file.truncate(start)
        if not start:
            version_file.write_text(_version(response), encoding="latin-1")
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        _check_room(file, (total or start) - start)
        done = _receive(response, file, start, total, progress)
    if total is None or done == total:
        return True
    if done <= have:
        raise ConnectionError(f"the connection was cut after {done} of {total} bytes")
    return False


def _receive(
    response: http.client.HTTPResponse,
    file: IO[bytes],
    done: int,
    total: int | None,
    progress: Received | None,
) -> int:
    while True:
        try:
            block = response.read(_BLOCK)
        except _NETWORK_ERRORS:
            if total is None:  # nothing tells a cut from the end
                raise
            block = b""
        if not block:
            file.flush()
            os.fsync(file.fileno())
            return done
        file.write(block)
        done += len(block)
        if progress is not None:
            progress(done, total)


def _request(url: str) -> Request:
    return Request(url, headers={"User-Agent": "tape-bench", "Accept-Encoding": "identity"})


def _continues(response: http.client.HTTPResponse, have: int) -> bool:
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return False
    given = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if given is None or int(given[1]) != have:
        raise http.client.HTTPException("it answered with another piece than was asked for")
    return True


def _version(response: http.client.HTTPResponse) -> str:
    """Return the mark by which the server knows this version of the file again, or nothing."""
    etag = response.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return str(etag)
    return str(response.headers.get("Last-Modified", ""))


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.version")


def _check_room(file: IO[bytes], needed: int) -> None:
    folder = Path(file.name).parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StorageError(
            f"no room: the download takes {needed} bytes, {free} are free",
            where=str(folder),
            fix="free some space, or choose another folder",
        )
