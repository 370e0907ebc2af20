"""CSV: one protein a line; columns `sequence` (or `primary`), `id` and cluster if there, targets.

A class a residue is a string of the task's label letters (`HHHEEC`), or numbers with spaces
between them (`0 0 0 1 1 2`, -1 where unlabelled). Coordinates do not fit a CSV.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tape_bench.cards import Target, TaskCard
from tape_bench.errors import DataError

SEQUENCE_COLUMNS = ("primary", "sequence")


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
            fix=f"it has: {', '.join(columns) or 'nothing'}",
        )
    return sequence_columns[0]


def _record(
    row: dict[str | None, Any], sequence_column: str, card: TaskCard, where: str
) -> dict[str, Any]:
    if None in row or None in row.values():
        raise DataError("more or fewer cells than columns", where=where)
    record = {"primary": row[sequence_column]}
    if "id" in row:
        record["id"] = row["id"]
    if card.cluster is not None and card.cluster.field in row:
        record[card.cluster.field] = row[card.cluster.field]
    for target in card.targets:
        if target.field in row:
            record[target.field] = _cell(row[target.field].strip(), target, card.kind, where)
    return record


def _cell(text: str, target: Target, kind: str, where: str) -> Any:
    try:
        if kind == "sequence_value":
            return float(text)
        if kind == "sequence_class":
            return target.labels.index(text) if text in target.labels else int(text)
        if " " in text or text.removeprefix("-").isdigit():
            return [int(number) for number in text.split()]
        return [target.labels.index(letter) for letter in text]
    except ValueError:
        labels = f" or labels of {', '.join(target.labels)}" if target.labels else ""
        raise DataError(
            f"{target.field} should hold {'a number' if kind != 'token_class' else 'numbers'}"
            f"{labels if kind != 'sequence_value' else ''}, not {text[:40]!r}",
            where=where,
        ) from None
