"""The predictions a record kept, read back only if they are those it speaks of."""

from __future__ import annotations

from typing import cast

from tape_bench.cards import Kind
from tape_bench.errors import RecordError
from tape_bench.report.gather import Filed
from tape_bench.results import store
from tape_bench.scoring import archive
from tape_bench.scoring.predictions import Predictions

Kept = dict[tuple[str, str], list[Predictions]]
"""(target, split) -> predictions, one for each seed."""


def predictions(filed: Filed) -> Kept:
    """Read the predictions beside a record.

    Raises:
        RecordError: there are none, they are cut short, or they are not those of the record.
    """
    told = filed.record.predictions
    if told is None:
        raise RecordError("the record has no predictions", where=str(filed.path))
    path = filed.path.parent / told.file
    if not path.is_file():
        raise RecordError(
            "the predictions are not beside the record",
            where=str(path),
            fix="copy them there, or run the task again",
        )
    if store.file_digest(path) != told.digest:
        raise RecordError(
            "these are not the predictions of the record: the digest does not match",
            where=str(path),
            fix="run the task again with --rerun",
        )
    found = archive.load(path, cast(Kind, filed.record.task.kind))
    return {place: list(archive.seeds_in_order(by_seed)) for place, by_seed in found.items()}
