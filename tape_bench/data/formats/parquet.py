"""Parquet: one protein a row, in the columns that a JSON record would have.

Copies of TAPE's sets on data hubs are in this layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tape_bench.errors import DataError

MAGIC = b"PAR1"

_MOST_EXPANSION = 200
_ALWAYS = 1 << 26
"""Bytes a file may unpack to for each of its own, and those that any may."""
_ROWS = 256


def read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read a Parquet file's rows as records.

    Yields:
        The record's place in words, and the record; empty cells are left out.

    Raises:
        DataError: pyarrow is not installed, or the file is damaged or unpacks to too much.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            "Parquet needs the package pyarrow",
            where=str(path),
            fix="pip install 'tape-bench[parquet]'",
        ) from None
    arrow: Any = pyarrow
    try:
        file = arrow.parquet.ParquetFile(path)
        groups = range(file.metadata.num_row_groups)
        size = sum(file.metadata.row_group(group).total_byte_size for group in groups)
        if size > path.stat().st_size * _MOST_EXPANSION + _ALWAYS:
            raise ValueError("it unpacks to far more than its size vouches for")
        row = 0
        for batch in file.iter_batches(batch_size=_ROWS):
            for record in batch.to_pylist():
                row += 1
                filled = {name: value for name, value in record.items() if value is not None}
                yield f"row {row}", filled
    except (OSError, ValueError, arrow.ArrowException, MemoryError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"not a valid Parquet file: {first[:200]}", where=str(path), fix="get the file again"
        ) from error
