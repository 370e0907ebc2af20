"""FASTA: sequences without targets, for embedding."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import TextIO

from tape_bench import text
from tape_bench.data.vocabulary import LETTERS, TAPE_IUPAC
from tape_bench.errors import DataError, TapeBenchError
from tape_bench.leftovers import temporary_folder

_GZIP_MAGIC = b"\x1f\x8b"
_LONGEST_LINE = 1 << 24
_MOST_LINES = 1 << 20
"""Letters of a line, and lines of an entry: gzip makes gigabytes of either from a few bytes."""
_ALIGNED = frozenset(ascii_lowercase + ascii_uppercase + "-.*")
_CAPITALS = str.maketrans(ascii_lowercase, ascii_uppercase)


@dataclass(frozen=True)
class Cleaning:
    """What may be done to the sequences of a file whose letters mean something more."""

    uppercase: bool = False
    """Read small letters as capitals: in soft-masked files they mark regions."""
    strip_stop: bool = False
    """Leave out one `*` at the end: translated reading frames close with a stop."""

    def __call__(self, sequence: str) -> str:
        """Return the sequence with what is allowed done to it."""
        if self.strip_stop:
            sequence = sequence.removesuffix("*")
        return sequence.translate(_CAPITALS) if self.uppercase else sequence


AS_IT_IS = Cleaning()


@contextmanager
def readable_again(path: Path) -> Iterator[Path]:
    """Yield a path that can be read any number of times: that of a copy, where a pipe is given.

    Raises:
        DataError: what comes out of the pipe is wrong; told of the pipe, not of the copy.
    """
    if path.is_file() or path.is_dir() or not path.exists():
        yield path
        return
    with temporary_folder() as folder:
        copy = folder / "fasta"
        try:
            with path.open("rb") as pipe, copy.open("wb") as kept:
                shutil.copyfileobj(pipe, kept)
        except OSError as error:
            raise DataError(f"cannot read the FASTA file: {error}", where=str(path)) from error
        try:
            yield copy
        except TapeBenchError as error:
            if error.where:
                error.where = error.where.replace(str(copy), str(path))
            raise


def read_fasta(path: Path, clean: Cleaning = AS_IT_IS) -> Iterator[tuple[str, str]]:
    """Read a FASTA file, plain or gzipped, one protein at a time.

    The id is the first word of the `>` line; a sequence may be wrapped over several lines.

    Args:
        path: the file.
        clean: what is done to the sequences before their letters are checked.

    Yields:
        Id and sequence.

    Raises:
        DataError: the file is missing, cut short or empty, an id is missing or stands twice, a
            sequence is empty or holds a letter that is no residue (lower case and `*` included).
    """
    seen: dict[str, int] = {}
    with _lines_of(path) as lines:
        for id, line_number, sequence in _entries(lines, path):
            where = f"{path}, line {line_number} ({id[:80]})"
            if id in seen:
                raise DataError(
                    f"the id {text.shown(id)} stands twice, first in line {seen[id]}",
                    where=where,
                    fix="give every protein an id of its own",
                )
            if (fault := text.fault_of_name(id)) is not None:
                raise DataError(f"the id {fault}", where=where, fix="write another id")
            seen[id] = line_number
            cleaned = clean(sequence)
            if not cleaned:
                raise DataError("an empty sequence", where=where, fix="remove the entry")
            try:
                TAPE_IUPAC.encode(cleaned, where=where)
            except DataError as error:
                fix = _remedy(sequence) or error.fix
                raise DataError(error.what, where=where, fix=fix) from None
            yield id, cleaned
    if not seen:
        raise _empty(path)


def read_aligned(path: Path) -> Iterator[tuple[int, str]]:
    """Read an alignment in FASTA's way (aligned FASTA, A2M, A3M), plain or gzipped.

    Yields:
        The line an entry begins in, and its sequence with gaps and insertions; ids may stand twice.

    Raises:
        DataError: see `read_fasta`; a letter that is neither a residue nor `-` or `.`.
    """
    found = False
    with _lines_of(path) as lines:
        for _, line_number, sequence in _entries(lines, path):
            if odd := set(sequence) - _ALIGNED:
                raise DataError(
                    f"{text.shown(min(odd))} is neither a residue nor a gap",
                    where=f"{path}, line {line_number}",
                    fix="give an alignment as FASTA, A2M or A3M",
                )
            found = True
            yield line_number, sequence
    if not found:
        raise _empty(path)


def _empty(path: Path) -> DataError:
    return DataError(
        "no sequence in the FASTA file", where=str(path), fix="an entry begins with '>id'"
    )


@contextmanager
def _lines_of(path: Path) -> Iterator[TextIO]:
    """Open a file; what goes wrong in reading it is told of the file."""
    try:
        with _open(path) as lines:
            yield lines
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the FASTA file: {error}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("the FASTA file is not text", where=str(path)) from error


def _remedy(sequence: str) -> str | None:
    """Name the options that would make a sequence readable; None if none would."""
    for clean, options in (
        (Cleaning(uppercase=True), "--uppercase if its small letters are residues, too"),
        (Cleaning(strip_stop=True), "--strip-stop, which leaves out the '*' at the end"),
        (Cleaning(True, True), "--uppercase and --strip-stop"),
    ):
        cleaned = clean(sequence)
        if cleaned and set(cleaned) <= set(LETTERS):
            return f"give {options}"
    return None


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
    for number, raw in enumerate(iter(lambda: lines.readline(_LONGEST_LINE), ""), start=1):
        if len(raw) == _LONGEST_LINE or len(parts) == _MOST_LINES:
            raise DataError(
                "a line, or an entry, longer than any protein", where=f"{path}, line {number}"
            )
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
        elif line:
            parts.append(line)
    if header is not None:
        yield *header, "".join(parts)
