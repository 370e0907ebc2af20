"""NumPy archives from anybody, read within the size that their own bytes vouch for."""

from __future__ import annotations

import ast
import math
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_MOST_EXPANSION = 200
_ALWAYS = 1 << 26
"""Bytes an archive may hold for each of its own, and those that any may hold: a column of equal
values is packed to a thousandth, and a bomb is nothing else."""

_MAGIC = b"\x93NUMPY"
_LONGEST_HEADER = 10_000
_KINDS = "biufUS"


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an archive: numbers, truth values and text, nothing else.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such archive, is damaged, or holds more than it could need.
    """
    with _told(), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        room = path.stat().st_size * _MOST_EXPANSION + _ALWAYS
        if sum(member.file_size for member in members) > room:
            raise ValueError("it unpacks to far more than its size vouches for")
        return {
            member.filename.removesuffix(".npy"): _array(_content(archive, member))
            for member in members
        }


READING = (OSError, ValueError)
"""What reading an archive raises where it is none."""


class Members:
    """The arrays of an archive, read one at a time."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            OSError, ValueError: see `read_npz`.
        """
        self._path = path
        with _told():
            self._archive = zipfile.ZipFile(path)
        self._room = path.stat().st_size * _MOST_EXPANSION + _ALWAYS
        self._infos = {
            member.filename.removesuffix(".npy"): member for member in self._archive.infolist()
        }

    @property
    def names(self) -> list[str]:
        """Names of the arrays, as they lie there."""
        return list(self._infos)

    def read(self, name: str) -> NDArray[Any]:
        """Read one array."""
        member = self._infos[name]
        with _told():
            if member.file_size > self._room:
                raise ValueError("it unpacks to far more than its size vouches for")
            return _array(_content(self._archive, member))

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape that the header of an array says."""
        with _told():
            return self._header(name)[1]

    def mapped(self, name: str) -> NDArray[Any]:
        """Return an array that is read where it is looked at, if it is stored as it is."""
        member = self._infos[name]
        if member.compress_type != zipfile.ZIP_STORED:
            return self.read(name)
        with _told():
            dtype, shape, begin, order = self._header(name)
            with self._path.open("rb") as file:
                # The directory does not say how long the member's own header is.
                file.seek(member.header_offset)
                local = file.read(30)
            start = member.header_offset + 30 + sum(struct.unpack("<HH", local[26:30])) + begin
            size = math.prod(shape) * dtype.itemsize
            if size != member.file_size - begin or start + size > self._path.stat().st_size:
                raise ValueError("an array is not of the size that it says")
            if not size:
                return np.zeros(shape, dtype)
            return np.memmap(self._path, dtype, "r", start, shape, order)

    def _header(self, name: str) -> tuple[np.dtype[Any], tuple[int, ...], int, Literal["C", "F"]]:
        with self._archive.open(self._infos[name]) as file:
            return _described(file.read(_LONGEST_HEADER + 12))


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        # What is there counts, not what the directory says is.
        content = file.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise ValueError("a member is not of the size that it says")
    return content


def _array(content: bytes) -> NDArray[Any]:
    """Read one array: a header that says its type and shape, and just as many bytes."""
    dtype, shape, begin, order = _described(content)
    if math.prod(shape) * dtype.itemsize != len(content) - begin:
        raise ValueError("an array is not of the size that it says")
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    found = np.frombuffer(content, dtype, offset=begin)
    if dtype.kind == "U" and found.view(dtype.byteorder + "u4").max(initial=0) > sys.maxunicode:
        raise ValueError("a text has letters that there are not")
    return found.reshape(shape, order=order)


def _described(content: bytes) -> tuple[np.dtype[Any], tuple[int, ...], int, Literal["C", "F"]]:
    """Read a header: the type and shape, where the numbers begin, and their order."""
    if content[: len(_MAGIC)] != _MAGIC or len(content) < 12:
        raise ValueError("a member is no NumPy array")
    wide = content[6] > 1
    size = int.from_bytes(content[8 : 12 if wide else 10], "little")
    begin = (12 if wide else 10) + size
    if size > _LONGEST_HEADER or begin > len(content):
        raise ValueError("a member is no NumPy array")
    header = ast.literal_eval(content[begin - size : begin].decode("latin-1").strip())
    descr, shape = header["descr"], header["shape"]
    if not isinstance(descr, str) or len(descr) > 16 or not isinstance(shape, tuple):
        raise ValueError("an array of objects")
    dtype = np.dtype(descr)
    if dtype.kind not in _KINDS or len(shape) > 8:
        raise ValueError(f"an array of {dtype}")
    if any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in shape):
        raise ValueError("an array of no shape")
    return dtype, shape, begin, "F" if header["fortran_order"] is True else "C"


@contextmanager
def _told() -> Iterator[None]:
    """Have all that is wrong with an archive told as a ValueError."""
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error,
        KeyError, IndexError, TypeError, OverflowError, MemoryError, SyntaxError,
    ) as error:  # fmt: skip
        raise ValueError(str(error) or type(error).__name__) from error
