"""Every split of a task opened: from the column cache, or record by record the first time."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tape_bench.cards import Role, TaskCard
from tape_bench.data.column_cache import cached
from tape_bench.data.columns import Columns, build
from tape_bench.data.digests import digest_of
from tape_bench.data.doubts import noted
from tape_bench.data.formats import detect
from tape_bench.data.formats.lmdb import data_file
from tape_bench.data.locate import Source, locate
from tape_bench.data.records import check
from tape_bench.data.status import SIMULATED, Found, Verdict, judge
from tape_bench.errors import DataError

SAMPLE = "sample"
"""The data place that is no place: the simulated data set built into the package."""


@dataclass(frozen=True)
class Opened:
    """A task's records by split, in the card's order, and what data they are."""

    splits: Mapping[str, Columns]
    source: str
    """`sample`, or the name of the data root or tarball."""
    verdict: Verdict


def open_sample(card: TaskCard, cache: Path) -> Opened:
    """Open the simulated data set."""
    from tape_bench.data import simulated

    records = functools.cache(lambda: simulated.build(card.name))

    def lay_out(name: str) -> Columns:
        numbered = ((f"record {i}", raw) for i, raw in enumerate(records()[name]))
        return _lay_out(numbered, card, f"sample, split {name}")

    splits = {
        name: cached(
            cache,
            f"sample {simulated.VERSION} {card.name} {name}",
            card,
            functools.partial(lay_out, name),
        )
        for name in card.splits
    }
    return Opened(splits, SAMPLE, SIMULATED)


def open_files(card: TaskCard, place: Path, cache: Path, roles: Collection[Role]) -> Opened:
    """Open the splits found at a data place.

    A test split that is not there is left out, unless it is the task's headline; and so is one
    whose role is not among `roles`.

    Raises:
        DataError: data that are missing, broken, or not what the card describes.
        StorageError: no room to unpack a tarball.
    """
    source = locate(card, place, cache)
    splits = {}
    for name, declared in card.splits.items():
        path = detect.find(source.folder, f"{card.source.folder}_{name}")
        if path is not None:
            splits[name] = cached(
                cache,
                digest_of(data_file(path), cache).sha256,
                card,
                functools.partial(_read, path, card),
            )
        elif declared.role in roles and (declared.role != "test" or name == card.headline):
            raise DataError(
                f"the split {name} of the task {card.name} is missing",
                where=str(source.folder),
                fix=f"give {card.source.folder}_{name} as {detect.LAYOUTS}",
            )
    found = {name: Found(len(columns), columns.digest) for name, columns in splits.items()}
    return Opened(splits, source.name, judge(card, found, _proven_md5(card, source, cache)))


def _read(path: Path, card: TaskCard) -> Columns:
    return _lay_out(detect.read(path, card), card, str(path))


def _lay_out(records: Iterable[tuple[str, Any]], card: TaskCard, where: str) -> Columns:
    checked = [check(raw, card, f"{where}, {place}") for place, raw in records]
    return noted(build(checked, card.kind, where), checked)


def _proven_md5(card: TaskCard, source: Source, cache: Path) -> str | None:
    """Return the md5 of TAPE's own tarball, if the files come from it and are unchanged."""
    receipt = source.receipt
    if receipt is None or receipt.md5 != card.source.md5:
        return None
    return None if receipt.changes(source.folder, cache) else receipt.md5
