"""CSV: one protein a line; columns `sequence` (or `primary`), `id` and cluster if there, targets.

A table whose cells are all JSON, as TAPE's own `lmdb_to_csv.py` writes it, is read as such.
A class a residue is a string of the task's label letters (`HHHEEC`), or numbers with spaces
between them (`0 0 0 1 1 2`, -1 where unlabelled). Coordinates do not fit a CSV.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tape_bench import text
from tape_bench.bounded import parse_json
from tape_bench.cards import Target, TaskCard
from tape_bench.errors import DataError

SEQUENCE_COLUMNS = ("primary", "sequence")

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def read_csv(path: Path, card: TaskCard) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a CSV's lines as records.

    Yields:
        The record's place in words, and the record with its targets as numbers.

    Raises:
        DataError: a column is missing, a line has too many or too few cells, a cell that should
            hold numbers or labels does not; coordinates are asked for.
    """
    if card.kind == "residue_pair":
        raise DataError(
            "a CSV cannot hold coordinates", where=str(path), fix="use TAPE's JSON or LMDB layout"
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            sequence_column = _check_header(list(reader.fieldnames or ()), card, path)
            for row in reader:
                place = f"line {reader.line_num}"
                yield place, _record(row, sequence_column, card, f"{path}, {place}")
    except csv.Error as error:
        raise DataError(f"not a valid CSV: {error}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("the CSV is not UTF-8 text", where=str(path)) from error
    except OSError as error:
        raise DataError(f"cannot read the CSV: {error.strerror}", where=str(path)) from error


def _check_header(columns: list[str], card: TaskCard, path: Path) -> str:
    sequence_columns = [name for name in SEQUENCE_COLUMNS if name in columns]
    wanted = [target.field for target in card.targets if not target.optional]
    missing = [name for name in wanted if name not in columns]
    if len(sequence_columns) != 1:
        missing.insert(0, "exactly one of primary, sequence")
    if missing or len(set(columns)) < len(columns):
        raise DataError(
            f"the CSV needs the columns {', '.join(missing)}"
            if missing
            else "a column name stands twice",
            where=f"{path}, line 1",
            fix=f"it has: {text.names(columns) or 'nothing'}",
        )
    return sequence_columns[0]


def _record(
    row: dict[str | None, Any], sequence_column: str, card: TaskCard, where: str
) -> dict[str, Any]:
    if None in row or None in row.values():
        raise DataError("more or fewer cells than columns", where=where)
    if _is_json(row[sequence_column]):
        return _of_json(row, card, where)
    record = {"primary": row[sequence_column]}
    if "id" in row:
        record["id"] = row["id"]
    if card.cluster is not None and card.cluster.field in row:
        record[card.cluster.field] = row[card.cluster.field]
    for target in card.targets:
        if target.field in row:
            record[target.field] = cell(row[target.field].strip(), target, card.kind, where)
    return record


def _is_json(sequence: str) -> bool:
    """Tell a sequence that JSON has put in quotation marks: no letter of one is such a mark."""
    return len(sequence) > 1 and sequence[0] == sequence[-1] == '"'


def _of_json(row: dict[str | None, Any], card: TaskCard, where: str) -> dict[str, Any]:
    """Read a row whose cells are JSON; what the task does not ask for may be anything."""
    wanted = {*SEQUENCE_COLUMNS, "id", *(target.field for target in card.targets)}
    if card.cluster is not None:
        wanted.add(card.cluster.field)
    record = {}
    for name in sorted(wanted & row.keys()):
        try:
            record[name] = parse_json(row[name])
        except ValueError:
            raise DataError(
                f"{name} is no JSON, as the sequence is: {text.shown(row[name], 40)}", where=where
            ) from None
    return record


def cell(cell: str, target: Target, kind: str, where: str) -> Any:
    """Read a cell as a target: a number, a class, or a class a residue.

    Raises:
        DataError: it is none.
    """
    try:
        if kind == "sequence_value":
            return _number(cell)
        if kind == "sequence_class":
            return target.labels.index(cell) if cell in target.labels else _whole(cell)
        if " " in cell or _WHOLE.fullmatch(cell):
            return [_whole(number) for number in cell.split()]
        return [target.labels.index(letter) for letter in cell]
    except ValueError:
        labels = f" or labels of {', '.join(target.labels)}" if target.labels else ""
        raise DataError(
            f"{target.field} should hold {'a number' if kind != 'token_class' else 'numbers'}"
            f"{labels if kind != 'sequence_value' else ''}, not {text.shown(cell, 40)}",
            where=where,
        ) from None


def _number(cell: str) -> float:
    # float() takes more for a number than any table does: 1_0, full-width digits, infinity.
    if not _NUMBER.fullmatch(cell):
        raise ValueError(cell)
    return float(cell)


def _whole(cell: str) -> int:
    if not _WHOLE.fullmatch(cell):
        raise ValueError(cell)
    return int(cell)
