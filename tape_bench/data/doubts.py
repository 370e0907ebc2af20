"""Residues whose coordinates were not believed: kept beside the records, counted, and told."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tape_bench.data.columns import Columns
from tape_bench.data.records import Record

_COLUMN = ".disbelieved"
"""Name of their column, which no field of a record has: True where not believed, `[residues]`.
It is there only if there is such a residue."""

_REASON = "residues whose coordinates are no atom's: not scored"


def noted(columns: Columns, records: Sequence[Record]) -> Columns:
    """Keep with the columns of some records which of their residues were not believed."""
    marks = [record.disbelieved for record in records if record.disbelieved is not None]
    if not any(mark.any() for mark in marks):
        return columns
    return replace(columns, fields={**columns.fields, _COLUMN: np.concatenate(marks)})


def tell(columns: Columns, where: str) -> dict[str, int]:
    """Warn of residues that were not believed, and count the records that have some.

    Args:
        columns: the records of a split.
        where: data and split, for the warning.

    Returns:
        The number of records by reason; nothing where all are believed.
    """
    if _COLUMN not in columns.fields:
        return {}
    marks = [columns.target(_COLUMN, index) for index in range(len(columns))]
    counts = np.array([mark.sum() for mark in marks])
    odd = np.flatnonzero(counts)
    if not odd.size:
        return {}
    first = odd[0]
    residue = int(np.argmax(marks[first])) + 1
    warnings.warn(
        f"{counts.sum()} residues of {odd.size} of {len(columns)} proteins have coordinates that "
        "are no atom's (not a number, one place for several residues, or outside the chain): "
        f"they are not scored\n  where: {where}; the first is {columns.ids[first]}, residue "
        f"{residue}\n  to do: set valid_mask to false where a residue has no coordinates",
        stacklevel=2,
    )
    return {_REASON: int(odd.size)}
