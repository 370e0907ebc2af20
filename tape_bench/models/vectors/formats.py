"""Reading vectors from NumPy's npz, safetensors, Parquet and HDF5; files are not trusted.

What `tape-bench embed` writes is read in each of its formats. Beside that, an npz or safetensors
file may have one array for each id; a Parquet file a column `id` or `sequence` and one of lists;
and an HDF5 file, as biotrainer and bio-embeddings write it, one data set a protein, whose attribute
`original_id` is the id.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.formats.npz import READING, Members
from tape_bench.errors import ModelError
from tape_bench.models.vectors.table import Table, broken, end_to_end

_COLUMNS = ("vectors", "embedding", "embeddings", "representation", "vector")
_LARGEST_ABOUT = 1 << 22


def read_npz(path: Path) -> Table:
    """Read an npz file: `embed`'s, or one array an id. Arrays are read when they are asked for."""
    try:
        members = Members(path)
        if {"ids", "vectors"} <= set(members.names):
            ids = [str(id) for id in members.read("ids").tolist()]
            offsets = members.read("offsets") if "offsets" in members.names else None
            about = str(members.read("about")) if "about" in members.names else ""
            return end_to_end(path, ids, members.mapped("vectors"), offsets, _about(about))
        shapes = {name: members.shape(name) for name in members.names}
        return Table(path, shapes, members.read)
    except READING as error:
        raise broken(path, error) from error


def read_safetensors(path: Path) -> Table:
    """Read a safetensors file: `embed`'s, or one tensor an id."""
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="numpy")
        names = list(file.keys())
        if {"ids", "vectors"} <= set(names):
            ids = file.get_tensor("ids").tobytes().decode().split("\n")
            offsets = file.get_tensor("offsets") if "offsets" in names else None
            about = (file.metadata() or {}).get("about", "")
            return end_to_end(path, ids, file.get_tensor("vectors"), offsets, _about(about))
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
        return Table(path, shapes, file.get_tensor)
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise broken(path, error) from error


def read_parquet(path: Path) -> Table:
    """Read a Parquet file: a column `id` or `sequence`, and one of lists of numbers."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise _missing("pyarrow", "parquet") from None
    arrow: Any = pyarrow
    try:
        file = arrow.parquet.ParquetFile(path, memory_map=True)
        names = file.schema_arrow.names
        named = [name for name in ("id", "sequence") if name in names]
        column = next((name for name in _COLUMNS if name in names), None)
        if not named or column is None:
            raise broken(
                path,
                f"it has the columns {', '.join(names)[:200]}",
                "name them id (or sequence) and vectors",
            )
        table = file.read([*named, column])
        metadata = file.schema_arrow.metadata or {}
        ids = [str(id) for id in table.column(named[0]).to_pylist()]
        lists = table.column(column).combine_chunks()
        shapes, read = _lists(lists)
    except (OSError, arrow.ArrowException, ValueError, TypeError) as error:
        raise broken(path, error) from error
    places = {id: number for number, id in enumerate(ids)}
    if len(places) < len(ids):
        raise broken(path, f"{len(ids) - len(places)} of its {named[0]}s stand there twice")
    sequences: Mapping[str, str] = {}
    if "sequence" in named:
        sequences = dict(zip(ids, map(str, table.column("sequence").to_pylist()), strict=True))
    about = metadata.get(b"about", b"").decode("utf-8", "replace")
    return Table(
        path,
        {id: shapes[place] for id, place in places.items()},
        lambda id: read(places[id]),
        sequences,
        _about(about),
    )


def _lists(column: Any) -> tuple[list[tuple[int, ...]], Callable[[int], NDArray[Any]]]:
    """Return the shapes of a column of lists, or of lists of lists, and what reads one."""

    def read(place: int) -> NDArray[Any]:
        rows = column[place].values
        if hasattr(rows, "flatten") and hasattr(rows.type, "value_type"):
            width = len(rows[0].values) if len(rows) else 0
            return np.asarray(rows.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)
        return np.asarray(rows.to_numpy(zero_copy_only=False))

    shapes = []
    for place in range(len(column)):
        if not column[place].is_valid:
            raise ValueError(f"row {place + 1} has no vectors")
        shapes.append(read(place).shape)
    return shapes, read


def read_hdf5(path: Path) -> Table:
    """Read an HDF5 file: one data set a protein, named by its attribute `original_id` if any."""
    try:
        import h5py
    except ImportError:
        raise _missing("h5py", "hdf5") from None
    hdf5: Any = h5py
    try:
        file = hdf5.File(path, "r")
        keys: dict[str, str] = {}
        shapes = {}
        for key in file:
            # Links lead to other files, and groups to other layouts.
            if not isinstance(file.get(key, getlink=True), hdf5.HardLink):
                continue
            data = file[key]
            if not isinstance(data, hdf5.Dataset) or data.dtype.kind not in "fiu":
                continue
            told = data.attrs.get("original_id", key)
            id = told.decode() if isinstance(told, bytes) else str(told)
            if id in keys:
                raise broken(path, f"the id {id!r} stands there twice")
            if data.external or data.is_virtual:
                raise broken(path, f"{key} lies in another file")
            keys[id] = key
            shapes[id] = tuple(data.shape)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise broken(path, error) from error
    return Table(path, shapes, lambda id: np.asarray(file[keys[id]][()]))


READERS: Mapping[str, Callable[[Path], Table]] = {
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    ".parquet": read_parquet,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
}


def _missing(package: str, extra: str) -> ModelError:
    return ModelError(
        f"this format needs the package {package}", fix=f"pip install 'tape-bench[{extra}]'"
    )


def _about(text: str) -> Mapping[str, Any]:
    """Read what `embed` says of itself; what is none of it says nothing."""
    try:
        found = json.loads(text[:_LARGEST_ABOUT]) if text else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
