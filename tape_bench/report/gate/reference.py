"""Reference records: what the gate compares with, replaced on purpose only."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from tape_bench.atomic import replace
from tape_bench.errors import RecordError, UsageError
from tape_bench.report import grouping
from tape_bench.report.comparison.pairing import pair
from tape_bench.results import store
from tape_bench.results.collect import Filed, Records


def update(new: Records, reference: Records, place: Path) -> list[Path]:
    """Put new records, and their predictions, in the place of the reference records.

    Args:
        new: the records that become the reference.
        reference: the records there now; those with a new counterpart are removed.
        place: results root of the reference, or the `.json` file of a single record.

    Returns:
        Where the new reference records stand.

    Raises:
        RecordError: there is no new record, or one is unreadable, incomplete or edited, or its
            predictions are not what it says; nothing is replaced then.
        StorageError: the folder cannot be written.
    """
    chosen = grouping.newest_filed(new.filed)
    if new.faults:
        raise new.faults[0]
    if not chosen:
        raise RecordError("there are no new records", fix="`tape-bench run` writes them")
    for filed in chosen:
        if filed.record.status != "complete" or not filed.intact:
            state = filed.record.status if filed.intact else "changed after it was written"
            raise RecordError(
                f"this record cannot become a reference: it is {state}",
                where=str(filed.path),
                fix="run the task again",
            )
    if place.suffix == ".json" and len(chosen) > 1:
        raise UsageError(
            f"{len(chosen)} records cannot become the one in {place.name}",
            fix="give a folder for the reference",
        )
    kept = [_predictions(filed) for filed in chosen]
    replaced = {done.a.path for done in pair(reference.filed, chosen).pairs}
    written = [_copy(filed, path, place) for filed, path in zip(chosen, kept, strict=True)]
    for path in replaced - {path.resolve() for path in written}:
        store.predictions_path(path).unlink(missing_ok=True)
        path.unlink()
    return written


def _predictions(filed: Filed) -> Path | None:
    """Return the predictions that go with a record; None where they were left behind."""
    told = filed.record.predictions
    beside = told is not None and Path(told.file).name == told.file
    if told is None or (beside and not (filed.path.parent / told.file).exists()):
        return None
    return store.predictions_of(filed.path, filed.record)


def _copy(filed: Filed, kept: Path | None, place: Path) -> Path:
    path = place if place.suffix == ".json" else store.path_of(place, filed.record)
    if kept is not None:
        replace(path.parent / kept.name, partial(shutil.copyfile, kept))
    replace(path, partial(shutil.copyfile, filed.path))
    return path
