"""Files of vectors: numpy's npz, safetensors and Parquet, filled without holding them all.

An id may be any text, so no file has members or columns named after ids: they stand in a list of
their own, in the order of the vectors.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from tape_bench.errors import UsageError


@dataclass(frozen=True)
class Vectors:
    """Vectors of proteins, lying in files as little-endian float32, row after row."""

    ids: list[str]
    rows: NDArray[np.int64] | None
    """Vectors of each protein, `[proteins]`; None where each has just one."""
    hidden: int
    parts: list[tuple[slice, Path]]
    """Which proteins, and the file of their vectors."""
    about: str
    """JSON: how they were made."""

    @cached_property
    def offsets(self) -> NDArray[np.int64] | None:
        """Row at which each protein's vectors begin, `[proteins + 1]`."""
        if self.rows is None:
            return None
        return np.concatenate([[0], np.cumsum(self.rows)]).astype(np.int64)

    @property
    def shape(self) -> tuple[int, int]:
        """Vectors in all, and their width."""
        return len(self.ids) if self.offsets is None else int(self.offsets[-1]), self.hidden

    def copy_to(self, file: IO[bytes]) -> None:
        """Write all vectors, end to end."""
        for _, part in self.parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file, 1 << 20)


Writer = Callable[[Path, Vectors], None]


def write_npz(path: Path, vectors: Vectors) -> None:
    """Write arrays `ids`, `vectors`, `about` (JSON), and `offsets` where rows are residues."""
    with zipfile.ZipFile(path, "w") as archive:
        small = {"about": np.array(vectors.about)}
        if vectors.offsets is not None:
            small["offsets"] = vectors.offsets
        ids = zipfile.ZipInfo("ids.npy")
        ids.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(ids, "w", force_zip64=True) as member:
            _write_texts(member, vectors.ids)
        for name, array in small.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
        with archive.open("vectors.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": vectors.shape}
            np.lib.format.write_array_header_2_0(member, header)
            vectors.copy_to(member)


def _write_texts(file: IO[bytes], texts: list[str]) -> None:
    """Write an array of texts. All take the room of the longest, so they are not made one here."""
    width = max(map(len, texts), default=1) or 1
    header = {"descr": f"<U{width}", "fortran_order": False, "shape": (len(texts),)}
    np.lib.format.write_array_header_2_0(file, header)
    for text in texts:
        file.write(text.encode("utf-32-le").ljust(4 * width, b"\0"))


def write_safetensors(path: Path, vectors: Vectors) -> None:
    """Write the same as tensors; `ids` is UTF-8 text, one a line, and `about` is metadata."""
    ids = "\n".join(vectors.ids).encode()
    tensors = {"vectors": ("F32", list(vectors.shape), 4 * vectors.shape[0] * vectors.shape[1])}
    if vectors.offsets is not None:
        tensors = {
            "offsets": ("I64", [len(vectors.offsets)], vectors.offsets.nbytes),
            **tensors,
        }
    tensors["ids"] = ("U8", [len(ids)], len(ids))
    entries: dict[str, object] = {"__metadata__": {"about": vectors.about}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        if vectors.offsets is not None:
            file.write(vectors.offsets.astype("<i8").tobytes())
        vectors.copy_to(file)
        file.write(ids)


def write_parquet(path: Path, vectors: Vectors) -> None:
    """Write columns `id` and `vectors`: a list of numbers, or a list of such lists."""
    arrow, parquet = _pyarrow(path)
    one = arrow.list_(arrow.float32(), vectors.hidden)
    kind = one if vectors.rows is None else arrow.list_(one)
    schema = arrow.schema([("id", arrow.string()), ("vectors", kind)], {"about": vectors.about})
    with parquet.ParquetWriter(path, schema, use_dictionary=False) as file:
        for proteins, part in vectors.parts:
            values = np.memmap(part, "<f4", "r")
            column = arrow.FixedSizeListArray.from_arrays(values, vectors.hidden)
            if vectors.rows is not None:
                starts = np.concatenate([[0], np.cumsum(vectors.rows[proteins])])
                column = arrow.ListArray.from_arrays(starts.astype(np.int32), column)
            ids = arrow.array(vectors.ids[proteins], arrow.string())
            # Small groups of rows: encoding a whole part at once takes four times its size.
            file.write_batch(arrow.record_batch([ids, column], schema=schema), row_group_size=64)


WRITERS: dict[str, Writer] = {
    ".npz": write_npz,
    ".safetensors": write_safetensors,
    ".parquet": write_parquet,
}


def format_of(path: Path) -> Writer:
    """Return what writes a file of this ending.

    Raises:
        UsageError: an unknown ending, or a library that is not installed.
    """
    if path.suffix not in WRITERS:
        raise UsageError(
            f"cannot tell the format of {path.name!r} by its ending",
            fix=f"use one of {', '.join(WRITERS)}",
        )
    if path.suffix == ".parquet":
        _pyarrow(path)
    return WRITERS[path.suffix]


def _pyarrow(path: Path) -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise UsageError(
            "Parquet files need pyarrow, which is not installed",
            where=str(path),
            fix="pip install 'tape-bench[parquet]', or write .npz or .safetensors",
        ) from None
