"""NumPy archives from anybody, read within the size that their own bytes vouch for."""

from __future__ import annotations

import ast
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_EXPANSION = 200
_ALWAYS = 1 << 26
"""Bytes an archive may hold for each of its own, and those that any may hold: a column of equal
values is packed to a thousandth, and a bomb is nothing else."""

_MAGIC = b"\x93NUMPY"
_KINDS = "biufUS"


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read every array of an archive: numbers, truth values and text, nothing else.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no such archive, is damaged, or holds more than it could need.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            room = path.stat().st_size * _MOST_EXPANSION + _ALWAYS
            if sum(member.file_size for member in members) > room:
                raise ValueError("it unpacks to far more than its size vouches for")
            return {
                member.filename.removesuffix(".npy"): _array(_content(archive, member))
                for member in members
            }
    except (
        zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error,
        KeyError, IndexError, TypeError, OverflowError, MemoryError, SyntaxError,
    ) as error:  # fmt: skip
        raise ValueError(str(error) or type(error).__name__) from error


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    with archive.open(member) as file:
        # What is there counts, not what the directory says is.
        content = file.read(member.file_size + 1)
    if len(content) != member.file_size:
        raise ValueError("a member is not of the size that it says")
    return content


def _array(content: bytes) -> NDArray[Any]:
    """Read one array: a header that says its type and shape, and just as many bytes."""
    if content[: len(_MAGIC)] != _MAGIC or len(content) < 12:
        raise ValueError("a member is no NumPy array")
    wide = content[6] > 1
    size = int.from_bytes(content[8 : 12 if wide else 10], "little")
    begin = (12 if wide else 10) + size
    if size > 10_000 or begin > len(content):
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
    if math.prod(shape) * dtype.itemsize != len(content) - begin:
        raise ValueError("an array is not of the size that it says")
    if not dtype.itemsize:
        return np.zeros(shape, dtype)
    order = "F" if header["fortran_order"] is True else "C"
    return np.frombuffer(content, dtype, offset=begin).reshape(shape, order=order)  # type: ignore[call-overload,no-any-return]
