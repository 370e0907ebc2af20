"""A file of vectors, whatever its format: ids, and arrays that are read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench.errors import DataError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """Vectors by id."""

    where: Path
    shapes: Mapping[str, Shape]
    """Of each id's array: `(residues, width)`, or `(width,)` where a sequence has one vector."""
    read: Callable[[str], NDArray[Any]]
    """Reads the array of an id."""
    sequences: Mapping[str, str] = field(default_factory=dict)
    """Sequences of ids, where the file has them."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the file says of how the vectors were made."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)


def broken(path: Path, why: object, fix: str = "write the file again") -> DataError:
    """Say that a file holds no vectors, and why."""
    lines = str(why).strip().splitlines() or [type(why).__name__]
    return DataError(f"not a file of vectors: {lines[0][:200]}", where=str(path), fix=fix)


def end_to_end(
    path: Path,
    ids: list[str],
    vectors: NDArray[Any],
    offsets: NDArray[np.int64] | None,
    about: Mapping[str, Any],
) -> Table:
    """Make a table of arrays that lie end to end, as `tape-bench embed` writes them.

    Args:
        path: the file.
        ids: one a sequence.
        vectors: rows of all, `[rows, width]`.
        offsets: row at which each sequence's begin, `[sequences + 1]`; None where each has one.
        about: how they were made.

    Raises:
        DataError: the three do not fit together, or an id stands twice.
    """
    if vectors.ndim != 2:
        raise broken(path, f"vectors have {vectors.ndim} axes instead of 2")
    rows, width = vectors.shape
    places = {id: number for number, id in enumerate(ids)}
    if len(places) < len(ids):
        twice = next(id for number, id in enumerate(ids) if places[id] != number)
        raise broken(path, f"the id {twice!r} stands there twice")
    if offsets is None:
        if rows != len(ids):
            raise broken(path, f"{rows} vectors for {len(ids)} ids")
        return Table(
            path, dict.fromkeys(ids, (width,)), lambda id: vectors[places[id]], about=about
        )
    fits = offsets.ndim == 1 and len(offsets) == len(ids) + 1
    if not fits or offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 0).any():
        raise broken(path, "offsets do not divide the vectors among the ids")
    shapes = {id: (int(n), width) for id, n in zip(ids, np.diff(offsets), strict=True)}
    return Table(
        path,
        shapes,
        lambda id: vectors[int(offsets[places[id]]) : int(offsets[places[id] + 1])],
        about=about,
    )
