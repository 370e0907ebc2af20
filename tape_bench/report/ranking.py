"""Who is best, by how much, and whether the difference from the best can be told from chance."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tape_bench.report.table import Cell, Column, Mark, Row


def ranked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Rank the figures of every column, and order the rows: models, controls, published.

    Only figures of one pool (same metric, split and data) are ranked together; equal figures
    share a rank.
    """
    ranked_columns = [
        _column([(row, row.cells[index]) for row in rows], column.higher_is_better)
        for index, column in enumerate(columns)
    ]
    done = [
        dataclasses.replace(row, cells=tuple(cells[index] for cells in ranked_columns))
        for index, row in enumerate(rows)
    ]
    # Published rows keep the order of their table.
    return sorted(done, key=lambda row: (row.published, row.control, *_own_order(row)))


def _own_order(row: Row) -> tuple[float, str, str]:
    if row.published:
        return 0.0, "", ""
    ranks = [cell.rank for cell in row.cells if cell.rank is not None]
    mean = sum(ranks) / len(ranks) if ranks else float("inf")
    return mean, row.model, row.variant


@dataclass(frozen=True)
class _Pool:
    """Figures that may be ranked together; scores are values, turned so that more is better."""

    scores: tuple[float, ...]
    """Ascending."""
    best: Cell
    control: tuple[float, str] | None
    """Score and name of the best control."""


def _column(figures: Sequence[tuple[Row, Cell]], higher_is_better: bool) -> list[Cell]:
    sign = 1.0 if higher_is_better else -1.0
    members: dict[str, list[tuple[float, Row, Cell]]] = defaultdict(list)
    for row, cell in figures:
        if cell.pool is not None and cell.value is not None:
            members[cell.pool].append((sign * cell.value, row, cell))
    pools = {name: _pool(entries) for name, entries in members.items()}
    return [
        _placed(row, cell, sign * cell.value, pools[cell.pool])
        if cell.pool is not None and cell.value is not None
        else cell
        for row, cell in figures
    ]


def _pool(entries: Sequence[tuple[float, Row, Cell]]) -> _Pool:
    controls = [(score, row.model) for score, row, _ in entries if row.control]
    return _Pool(
        scores=tuple(sorted(score for score, _, _ in entries)),
        best=max(entries, key=lambda entry: entry[0])[2],
        control=max(controls, default=None),
    )


def _placed(row: Row, cell: Cell, score: float, pool: _Pool) -> Cell:
    size = len(pool.scores)
    rank = 1 + size - bisect_right(pool.scores, score)
    marks: dict[int, Mark] = {1: "best", 2: "second"}
    gains = pool.control is not None and not row.control and not row.published
    return dataclasses.replace(
        cell,
        rank=rank,
        ranked=size,
        mark=marks.get(rank) if size > 1 else None,
        tied=rank > 1 and _overlap(cell, pool.best),
        gain=score - pool.control[0] if pool.control and gains else None,
        gain_over=pool.control[1] if pool.control and gains else None,
    )


def _overlap(one: Cell, other: Cell) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high
