"""Proteins longer than a model reads, cut into windows that overlap by half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tape_bench.models.embedder import Representation


@dataclass(frozen=True)
class Window:
    """Residues `start:stop` are read together; `keep_from:keep_to` are taken from this window."""

    start: int
    stop: int
    keep_from: int
    keep_to: int


def windows(length: int, width: int) -> list[Window]:
    """Cut a protein into windows of one width, spread evenly, overlapping by half or more.

    Each residue belongs to the window in which it is farthest from an edge; where two windows
    overlap, the border lies in the middle of the overlap.
    """
    if length <= width:
        return [Window(0, length, 0, length)]
    count = 1 + int(np.ceil((length - width) / max(width // 2, 1)))
    starts = np.round(np.linspace(0, length - width, count)).astype(int).tolist()
    borders = [(later + earlier + width) // 2 for earlier, later in pairwise(starts)]
    return [
        Window(start, start + width, keep_from, keep_to)
        for start, keep_from, keep_to in zip(starts, [0, *borders], [*borders, length], strict=True)
    ]


def stitch(cuts: Sequence[Window], pieces: Sequence[Representation]) -> Representation:
    """Put the kept centres of the windows together again, `[residues, hidden]`."""
    return np.concatenate(
        [
            piece[cut.keep_from - cut.start : cut.keep_to - cut.start]
            for cut, piece in zip(cuts, pieces, strict=True)
        ]
    )
