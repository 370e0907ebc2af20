"""LMDB as TAPE lays it out: `num_examples`, then one pickled record a key "0", "1", ..."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from tape_bench import text
from tape_bench.data.formats.unpickle import loads
from tape_bench.errors import DataError

_META = struct.Struct("<16x I I 16x I 92x Q Q")
"""Head of an LMDB page that describes the file: magic, version, page size, last page, writing."""
_MAGIC = 0xBEEFC0DE
_AGAIN = "fetch the data again"


def is_lmdb(path: Path) -> bool:
    """Tell whether this is an LMDB: a folder with `data.mdb`, or such a file by itself."""
    file = data_file(path)
    if path.is_dir():
        return file.is_file()
    with file.open("rb") as content:
        head = content.read(_META.size)
    return len(head) == _META.size and _META.unpack(head)[0] == _MAGIC


def data_file(path: Path) -> Path:
    """Return the file that holds the records."""
    return path / "data.mdb" if path.is_dir() else path


def read_lmdb(path: Path) -> Iterator[tuple[str, Any]]:
    """Read the records of an LMDB in order, from read-only media too.

    Yields:
        The record's place in words, and the record as it was pickled.

    Raises:
        DataError: cut short or damaged, without `num_examples`, a record missing, or a pickle
            that asks for more than plain values.
    """
    _check_whole(data_file(path))
    try:
        with (
            lmdb.open(
                str(path), subdir=path.is_dir(), readonly=True, lock=False, create=False
            ) as store,
            store.begin(buffers=False) as transaction,
        ):
            count = _count(transaction.get(b"num_examples"), path)
            for index in range(count):
                content = transaction.get(str(index).encode())
                if content is None:
                    raise DataError(
                        f"record {index} of {count} is missing", where=str(path), fix=_AGAIN
                    )
                yield f"record {index}", loads(content, where=f"{path}, record {index}")
            if transaction.get(str(count).encode()) is not None:
                raise DataError(
                    f"num_examples says {count}, but there is a record {count} as well",
                    where=str(path),
                    fix=_AGAIN,
                )
    except lmdb.Error as error:
        raise DataError(f"cannot read the LMDB: {error}", where=str(path), fix=_AGAIN) from error


def _count(content: bytes | None, path: Path) -> int:
    if content is None:
        raise DataError(
            "the LMDB has no key 'num_examples'",
            where=str(path),
            fix="write the number of records under that key, as TAPE does",
        )
    where = f"{path}, num_examples"
    count = loads(content, where=where)
    if isinstance(count, np.ndarray | np.generic) and count.ndim == 0:
        count = count.item()
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise DataError(
            f"num_examples is {text.shown(count)}, not a number of records", where=where
        )
    return count


def _check_whole(file: Path) -> None:
    """Refuse a file shorter than it says it is: reading past its end would kill the process."""
    try:
        size = file.stat().st_size
        with file.open("rb") as content:
            first = content.read(_META.size)
            page_size = _META.unpack(first)[2] if len(first) == _META.size else 0
            content.seek(page_size)
            second = content.read(_META.size)
    except OSError as error:
        raise DataError(f"cannot read the LMDB: {error.strerror}", where=str(file)) from error
    metas = [_META.unpack(head) for head in (first, second) if len(head) == _META.size]
    if len(metas) < 2 or any(meta[0] != _MAGIC for meta in metas):
        raise DataError("this is no LMDB data file", where=str(file), fix=_AGAIN)
    _, _, _, last_page, _ = max(metas, key=lambda meta: meta[4])
    declared = (last_page + 1) * page_size
    if size < declared:
        raise DataError(
            f"the LMDB is cut short: {size} bytes of {declared}", where=str(file), fix=_AGAIN
        )
