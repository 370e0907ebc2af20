"""The results tree: a record's path is its identity, so no record overwrites a different one.

`<root>/<model>/<revision>/<task>/<data status>-<data digest>/<protocol>-<run key>.json`,
with the predictions beside it and, while a run is under way, a `.work` folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tape_bench import memo
from tape_bench.atomic import replace, storage_error
from tape_bench.bounded import parse_json, read_text
from tape_bench.errors import RecordError
from tape_bench.results import migrate
from tape_bench.results.record import SCHEMA_VERSION, RunRecord

SHOWN = 12
"""Digits of a digest that a path shows."""


_MODELS, _WORK = ".models", ".work"
_NO_RECORDS = {_MODELS, _WORK}
"""Folders beside records that hold none."""


def path_of(root: Path, record: RunRecord) -> Path:
    """Return where a record belongs under a results root."""
    task, model = record.task, record.model
    return place(
        root,
        model=(model.name, model.revision),
        task=task.id,
        data=(task.data.status, task.data.digest),
        protocol=record.protocol.id,
        run_key=record.run_key,
    )


def place(
    root: Path,
    *,
    model: tuple[str, str],
    task: str,
    data: tuple[str, str],
    protocol: str,
    run_key: str,
) -> Path:
    """Return where the record of a run belongs that has not been made yet.

    Args:
        root: the results root.
        model: name and revision.
        task: id of the task.
        data: status and digest.
        protocol: id of the protocol.
        run_key: stands for everything that can change a score.
    """
    status, digest_ = data
    return (
        root.joinpath(*map(_slug, (*model, task)))
        / f"{status}-{digest_[:SHOWN]}"
        / f"{_slug(protocol)}-{run_key[:SHOWN]}.json"
    )


def predictions_path(path: Path) -> Path:
    """Return where the predictions of the record at `path` are kept."""
    return path.with_suffix(".predictions.npz")


def models_path(path: Path) -> Path:
    """Return the folder where the models are kept that were trained for the record at `path`."""
    return path.with_suffix(_MODELS)


def work_path(path: Path) -> Path:
    """Return the folder where an unfinished run keeps what it has done."""
    return path.with_suffix(_WORK)


def write(path: Path, record: RunRecord) -> RunRecord:
    """Write a record atomically, sealed with its digest; return the sealed record.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    sealed = record.model_copy(update={"digest": digest(record)})
    text = sealed.model_dump_json(indent=1) + "\n"
    replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return sealed


def check_writable(root: Path) -> None:
    """Find out before the work starts whether results can be written.

    Raises:
        StorageError: the folder cannot be made or written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root) as probe:
            probe.write(b"\0" * 4096)
    except OSError as error:
        raise storage_error(error, root) from error


def read(path: Path) -> RunRecord:
    """Read one record; its digest is that of its content only if nobody edited the file.

    Raises:
        RecordError: missing, cut short, not UTF-8, of a future schema, or not a record.
    """
    try:
        content = parse_json(read_text(path))
    except OSError as error:
        raise RecordError(f"cannot read the record: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise RecordError("the record is not UTF-8 text", where=str(path)) from error
    except json.JSONDecodeError as error:
        raise RecordError(
            f"not valid JSON ({error.msg}): the record is cut short or was edited",
            where=f"{path}, line {error.lineno}",
            fix="delete it and run the task again",
        ) from error
    except ValueError as error:
        raise RecordError(f"not a run record: {error}", where=str(path)) from error
    said = content.get("schema_version") if isinstance(content, dict) else None
    version = said if isinstance(said, int) and not isinstance(said, bool) else 0
    if version > SCHEMA_VERSION:
        raise RecordError(
            f"the record has schema version {version}, this release reads up to {SCHEMA_VERSION}",
            where=str(path),
            fix="install a newer tape-bench",
        )
    whole = isinstance(content, dict) and content.get("digest") == migrate.digest(content)
    if version in migrate.MIGRATIONS:
        content = migrate.migrate(content, SCHEMA_VERSION)
    try:
        record = RunRecord.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()[:5]
        )
        raise RecordError(f"not a run record: {faults}", where=str(path)) from error
    # A field that later releases added is no edit by hand: what was whole is sealed anew.
    return record.model_copy(update={"digest": digest(record)}) if whole else record


def read_whole(path: Path) -> RunRecord | None:
    """Read one record that is to be believed: None where it is not what was written.

    Raises:
        RecordError: a newer release wrote it, which must not be written over.
    """
    record = memo.attempt(lambda: read(path))
    if record is not None:
        return record if record.digest == digest(record) else None
    version = memo.attempt(lambda: parse_json(read_text(path))["schema_version"])
    if isinstance(version, int) and version > SCHEMA_VERSION:
        read(path)
    return None


def find(root: Path) -> Iterator[Path]:
    """Yield the paths of all records under a root, in order.

    Unfinished work is no record, nor is what lies among trained models.
    """
    for path in sorted(root.rglob("*.json")):
        inside = {folder.suffix for folder in path.relative_to(root).parents}
        if not path.name.startswith(".") and not inside & _NO_RECORDS and _may_be_file(path):
            yield path


def _may_be_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:  # a broken link, of which reading it tells
        return True


def digest(record: RunRecord) -> str:
    """Return the SHA-256 of a record's content, its own digest left out."""
    return migrate.digest(record.model_dump(mode="json"))


def predictions_of(path: Path, record: RunRecord) -> Path:
    """Return the file of a record's predictions, which lies beside the record at `path`.

    Raises:
        RecordError: there are none, or not as the record says; or it names a file elsewhere.
    """
    told = record.predictions
    if told is None:
        raise RecordError("the record has no predictions", where=str(path))
    if Path(told.file).name != told.file or told.file in ("", ".", ".."):
        raise RecordError(
            "the record names predictions that are not beside it",
            where=f"{path}: {told.file}",
            fix="do not trust this record; run the task again",
        )
    kept = path.parent / told.file
    if not kept.is_file():
        raise RecordError(
            "the predictions are not beside the record",
            where=str(kept),
            fix="copy them there, or run the task again",
        )
    try:
        found = file_digest(kept)
    except OSError as error:
        raise RecordError(
            f"cannot read the predictions: {error.strerror}", where=str(kept)
        ) from error
    if found != told.digest:
        raise RecordError(
            "these are not the predictions of the record: the digest does not match",
            where=str(kept),
            fix="run the task again with --rerun",
        )
    return kept


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _slug(name: str) -> str:
    # Names from users become folder names: no separators, no leading dot, bounded length.
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip(".-")[:80] or "unnamed"
