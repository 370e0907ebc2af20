"""FASTA: sequences without targets, for embedding."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tape_bench.data.tokens import TAPE_IUPAC
from tape_bench.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"


def read_fasta(path: Path) -> Iterator[tuple[str, str]]:
    """Read a FASTA file, plain or gzipped, one protein at a time.

    The id is the first word of the `>` line; a sequence may be wrapped over several lines.

    Args:
        path: the file.

    Yields:
        Id and sequence.

    Raises:
        DataError: the file is missing, cut short or empty, an id is missing or stands twice, a
            sequence is empty or holds a letter that is no residue (lower case and `*` included).
    """
    seen: dict[str, int] = {}
    try:
        with _open(path) as lines:
            for id, line_number, sequence in _entries(lines, path):
                where = f"{path}, line {line_number} ({id})"
                if id in seen:
                    raise DataError(
                        f"the id {id!r} stands twice, first in line {seen[id]}",
                        where=where,
                        fix="give every protein an id of its own",
                    )
                seen[id] = line_number
                if not sequence:
                    raise DataError("an empty sequence", where=where, fix="remove the entry")
                TAPE_IUPAC.encode(sequence, where=where)
                yield id, sequence
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the FASTA file: {error}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("the FASTA file is not text", where=str(path)) from error
    if not seen:
        raise DataError(
            "no sequence in the FASTA file", where=str(path), fix="an entry begins with '>id'"
        )


def _open(path: Path) -> TextIO:
    with path.open("rb") as file:
        gzipped = file.read(2) == _GZIP_MAGIC
    if gzipped:
        return gzip.open(path, "rt", encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def _entries(lines: TextIO, path: Path) -> Iterator[tuple[str, int, str]]:
    """Yield id, line number of the header, and the joined sequence of each entry."""
    header: tuple[str, int] | None = None
    parts: list[str] = []
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if line.startswith(">"):
            if header is not None:
                yield *header, "".join(parts)
            words = line[1:].split()
            if not words:
                raise DataError(
                    "an entry without an id",
                    where=f"{path}, line {number}",
                    fix="write an id right after the '>'",
                )
            header, parts = (words[0], number), []
        elif header is None and line:
            raise DataError(
                "text before the first '>'",
                where=f"{path}, line {number}",
                fix="a FASTA file begins with '>id'",
            )
        else:
            parts.append(line)
    if header is not None:
        yield *header, "".join(parts)
