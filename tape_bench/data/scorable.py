"""Which examples a task can score at all: an example without a label says nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from tape_bench.cards import Kind
from tape_bench.data.columns import Columns

SMALLEST_SEPARATION = 6
"""Pairs closer than this along the chain are never scored (nor learned), as in TAPE."""

TOO_SHORT = f"fewer than {SMALLEST_SEPARATION + 1} residues: no pair {SMALLEST_SEPARATION} apart"
NO_PAIR = f"no two residues with coordinates {SMALLEST_SEPARATION} or more apart"
NO_LABEL = "no residue has a label"


def unscorable(columns: Columns, field: str) -> dict[str, NDArray[np.bool_]]:
    """Mark the examples that have nothing to score, by reason, `[records]` each.

    Args:
        columns: the records.
        field: the field of the task's first target.
    """
    find = _FINDERS.get(columns.kind)
    return {} if find is None else find(columns, field)


def _without_label(columns: Columns, field: str) -> dict[str, NDArray[np.bool_]]:
    return {NO_LABEL: np.maximum.reduceat(columns.fields[field], columns.offsets[:-1]) < 0}


def _without_pair(columns: Columns, field: str) -> dict[str, NDArray[np.bool_]]:
    # The widest pair decides: from the first to the last residue that has coordinates.
    valid = ~np.isnan(columns.fields[field][:, 0])
    place = np.arange(len(valid))
    starts = columns.offsets[:-1]
    first = np.minimum.reduceat(np.where(valid, place, len(valid)), starts)
    last = np.maximum.reduceat(np.where(valid, place, -1), starts)
    short = columns.lengths <= SMALLEST_SEPARATION
    return {TOO_SHORT: short, NO_PAIR: ~short & (last - first < SMALLEST_SEPARATION)}


_FINDERS: Mapping[Kind, Callable[[Columns, str], dict[str, NDArray[np.bool_]]]] = {
    "token_class": _without_label,
    "residue_pair": _without_pair,
}
