"""Who is best, by how much, and whether the difference from the best can be told from chance."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tape_bench.report.leaderboard.table import Cell, Column, Group, Mark, Row


def ranked(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Rank the scores of every column within their pools: same protocol, split and data.

    Scores that are equal at the precision of the coarser one share a rank: 0.679 measured here
    and 0.68 from a paper cannot be told apart.
    """
    ranked_columns = [
        _column([(row, row.cells[index]) for row in rows], column.higher_is_better)
        for index, column in enumerate(columns)
    ]
    return [
        dataclasses.replace(row, cells=tuple(cells[index] for cells in ranked_columns))
        for index, row in enumerate(rows)
    ]


def groups(rows: Sequence[Row]) -> list[Group]:
    """Part ranked rows into groups of one protocol and, in every column, the same data.

    Models come before controls, our groups before published ones, and the larger group first.
    """
    found: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (row.published, row.control, *_own_order(row))):
        home = next((group for group in found if _belongs(row, group)), None)
        if home is None:
            found.append([row])
        else:
            home.append(row)
    made = [Group(group[0].protocol, group[0].published, tuple(group)) for group in found]
    return sorted(made, key=lambda group: (group.published, group.protocol, -len(group.rows)))


def _belongs(row: Row, group: Sequence[Row]) -> bool:
    first = group[0]
    if (row.published, row.protocol) != (first.published, first.protocol):
        return False
    return row.published or all(
        _data(one) == _data(other) or None in (_data(one), _data(other))
        for member in group
        for one, other in zip(row.cells, member.cells, strict=True)
    )


def _data(cell: Cell) -> tuple[str, int | None] | None:
    if not cell.data:
        return None
    # All versions of TAPE's own files hold the same records, whatever their digest.
    return "official" if cell.data == "official" else cell.data_digest, cell.limit


def _own_order(row: Row) -> tuple[float, str, str]:
    # Published rows keep the order of their table.
    if row.published:
        return 0.0, "", ""
    ranks = [cell.rank for cell in row.cells if cell.rank is not None]
    mean = sum(ranks) / len(ranks) if ranks else float("inf")
    return mean, row.model, row.variant


@dataclass(frozen=True)
class _Entry:
    """A score that may be ranked; its score is its value, turned so that more is better."""

    row: Row
    cell: Cell
    score: float


def _column(scores: Sequence[tuple[Row, Cell]], higher_is_better: bool) -> list[Cell]:
    sign = 1.0 if higher_is_better else -1.0
    pools: dict[str, list[_Entry]] = defaultdict(list)
    for row, cell in scores:
        if cell.pool is not None and cell.value is not None:
            pools[cell.pool].append(_Entry(row, cell, sign * cell.value))
    placed = {id(one.cell): cell for pool in pools.values() for one, cell in _placed(pool)}
    return [placed.get(id(cell), cell) for _, cell in scores]


def _placed(pool: Sequence[_Entry]) -> Iterator[tuple[_Entry, Cell]]:
    best = max(pool, key=lambda entry: entry.score)
    controls = [entry for entry in pool if entry.row.control]
    control = max(controls, key=lambda entry: entry.score, default=None)
    # Where controls are alone, nobody has won anything.
    contest = 1 < len(pool) != len(controls)
    marks: dict[int, Mark] = {1: "best", 2: "second"}
    for one in pool:
        rank = 1 + sum(_ahead(other, one) for other in pool)
        gains = None if one.row.control or one.row.published else control
        yield (
            one,
            dataclasses.replace(
                one.cell,
                rank=rank,
                ranked=len(pool),
                mark=marks.get(rank) if contest else None,
                tied=rank > 1 and _overlap(one.cell, best.cell),
                gain=one.score - gains.score if gains else None,
                gain_over=gains.row.model if gains else None,
            ),
        )


def _ahead(one: _Entry, other: _Entry) -> bool:
    """Whether the first is better, at the precision that both are known to."""
    if not one.row.published and not other.row.published:
        return one.score > other.score
    digits = min(one.cell.digits, other.cell.digits)
    return round(one.score, digits) > round(other.score, digits)


def _overlap(one: Cell, other: Cell) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high
