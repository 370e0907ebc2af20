"""The distinct sequences of tasks, for a program elsewhere to embed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tape_bench.atomic import replace


def id_of(sequence: str) -> str:
    """Return the id of a sequence: the same wherever it stands, and safe as a name anywhere."""
    return "s" + hashlib.sha256(sequence.encode()).hexdigest()[:20]


def write_sequences(sequences: Iterable[str], path: Path) -> int:
    """Write each distinct sequence once, the longest first, as FASTA; return how many.

    Raises:
        StorageError: the file cannot be written; what was there before is still there.
    """
    distinct = sorted(set(sequences), key=lambda sequence: (-len(sequence), sequence))

    def fill(place: Path) -> None:
        with place.open("w", encoding="ascii") as file:
            for sequence in distinct:
                file.write(f">{id_of(sequence)}\n{sequence}\n")

    replace(path, fill)
    return len(distinct)
