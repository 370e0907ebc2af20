"""Columns kept on disk by content, so that a set is decoded once and opened at once ever after.

One safetensors file a split under `<cache>/columns`. Its name is a digest of everything that
goes into it, so it is never out of date; its content is checked against the digest it carries,
so a damaged one is made again.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tape_bench import memo
from tape_bench.atomic import replace
from tape_bench.cards import TaskCard
from tape_bench.data.columns import Columns, digest_of_arrays
from tape_bench.errors import StorageError

_FORMAT = 2
"""Raise it when the same records are laid out, or checked, in another way."""


def cached(cache: Path, content: str, card: TaskCard, make: Callable[[], Columns]) -> Columns:
    """Return a split's columns from the cache, or make them and keep them there.

    Args:
        cache: cache root. One that cannot be written brings a warning, nothing worse.
        content: what identifies the split's content: the digest of its file.
        card: the task; what of it decides how records are read is part of the name.
        make: reads the records and lays them out.
    """
    path = cache / "columns" / f"{_key(content, card)}.safetensors"
    kept = _load(path, card)
    if kept is not None:
        return kept
    columns = make()
    try:
        replace(path, lambda temporary: _save(temporary, columns))
    except StorageError as error:
        warnings.warn(
            f"{error.what}: records will be decoded again next time\n  where: {path.parent}",
            stacklevel=2,
        )
    return columns


def _key(content: str, card: TaskCard) -> str:
    targets = [[t.field, t.classes, t.labels, t.optional] for t in card.targets]
    recipe = json.dumps([_FORMAT, content, card.kind, targets, *_clustering(card)])
    return hashlib.sha256(recipe.encode()).hexdigest()


def _clustering(card: TaskCard) -> list[object]:
    return [] if card.cluster is None else [card.cluster.model_dump()]


def _save(path: Path, columns: Columns) -> None:
    try:
        arrays = columns.arrays()
        save_file(arrays, path, metadata={"digest": digest_of_arrays(arrays)})
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(str(error)) from error


def _load(path: Path, card: TaskCard) -> Columns | None:
    """Return what is kept, or None if there is nothing, or nothing whole."""

    def look() -> Columns | None:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            digest = (file.metadata() or {}).get("digest")
        columns = Columns.from_arrays(card.kind, arrays)
        return columns if digest_of_arrays(arrays) == digest else None

    return memo.attempt(look)
