"""Files of records in any layout: found by name, read by what is in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tape_bench.bounded import parse_json
from tape_bench.cards import TaskCard
from tape_bench.data.formats.csv import read_csv
from tape_bench.data.formats.lmdb import is_lmdb, read_lmdb
from tape_bench.data.formats.parquet import MAGIC, read_parquet
from tape_bench.errors import DataError

LAYOUTS = (
    "an LMDB (folder with data.mdb), a JSON list of records, JSON Lines, a CSV with a header, or "
    "Parquet"
)


def find(folder: Path, prefix: str) -> Path | None:
    """Find the file, or LMDB folder, named `prefix` with any suffix; None if there is none.

    Raises:
        DataError: there are two, and only one can be the split.
    """
    found = sorted(p for p in folder.iterdir() if p.name.partition(".")[0] == prefix)
    # Beside an LMDB that is a single file lies its lock, which says nothing.
    locks = {path.with_name(f"{path.name}-lock") for path in found}
    found = [path for path in found if path not in locks]
    if len(found) > 1:
        raise DataError(
            f"two files for one split: {', '.join(path.name for path in found)}",
            where=str(folder),
            fix="keep the one that is meant",
        )
    return found[0] if found else None


def read(path: Path, card: TaskCard) -> Iterator[tuple[str, Any]]:
    """Read the raw records of one split, in the file's order, whatever its layout.

    Yields:
        The record's place in words (`record 5`, `line 7`), and the record.

    Raises:
        DataError: none of the layouts, or a broken one.
    """
    try:
        if is_lmdb(path):
            return read_lmdb(path)
        if path.is_dir():
            raise DataError("the folder is no LMDB: it has no data.mdb", where=str(path))
        with path.open("rb") as file:
            head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(path)) from error
    if head[:4] == MAGIC:
        return read_parquet(path)
    if head[:1] in (b"[", b"{"):
        return _read_json(path)
    if head[:1] == b">":
        raise DataError(
            "a FASTA file has sequences but no targets",
            where=str(path),
            fix=f"give the split as {LAYOUTS}",
        )
    if b"," in head.partition(b"\n")[0] and b"\0" not in head:
        return read_csv(path, card)
    raise DataError(
        "the file is empty" if not head else "no layout of records that is known here",
        where=str(path),
        fix=f"give the split as {LAYOUTS}",
    )


def _read_json(path: Path) -> Iterator[tuple[str, Any]]:
    """Read a list of records, or one record a line."""
    try:
        content = path.read_text(encoding="utf-8-sig")
        if _is_lines(content):
            yield from _read_lines(content, path)
            return
        records = parse_json(content)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not valid JSON ({error.msg}): the file is cut short or was edited",
            where=f"{path}, line {error.lineno}",
            fix="fetch the data again",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError("not a JSON list of records", where=str(path)) from error
    except ValueError as error:
        raise DataError(f"not a JSON list of records: {error}", where=str(path)) from error
    if not isinstance(records, list):
        raise DataError(
            f"the JSON file holds one {type(records).__name__}, not a list of records",
            where=str(path),
            fix=f"give the split as {LAYOUTS}",
        )
    for index, record in enumerate(records):
        yield f"record {index}", record


def _is_lines(content: str) -> bool:
    """Tell JSON Lines: the first line is an object by itself, and something follows it."""
    first, _, rest = content.lstrip().partition("\n")
    if not first.startswith("{") or not rest.strip():
        return False
    try:
        return isinstance(parse_json(first), dict)
    except ValueError:
        return False


def _read_lines(content: str, path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number}", parse_json(line)
            except ValueError as error:
                raise DataError(
                    f"not one JSON record a line: {error}", where=f"{path}, line {number}"
                ) from error
