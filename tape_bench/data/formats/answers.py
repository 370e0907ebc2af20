"""Predictions that another program made, joined to the examples of a split by id or sequence.

A CSV has a column `id` or `sequence`, and one for each target predicted, called as the target or,
where the task has one only, `value`, `class` or `classes`. An npz has an array an id: contact
probabilities `[residues, residues]`, or the scores of classes. What is read is what a metric needs:
a class alone is a score of 1 for it and of 0 for every other.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench import text
from tape_bench.cards import Target
from tape_bench.data.examples import Split
from tape_bench.data.formats.csv import cell
from tape_bench.data.formats.npz import READING, Members
from tape_bench.data.scorable import SMALLEST_SEPARATION
from tape_bench.errors import DataError

_GENERIC = {"sequence_value": "value", "sequence_class": "class", "token_class": "classes"}
_LISTED = 5

Values = NDArray[np.float32]


@dataclass
class Answers:
    """Predictions for the examples of a split."""

    by_target: dict[str, dict[int, Values]]
    """By target, then by the example's place in the split: the values of its items, in order."""
    unknown: list[str] = field(default_factory=list)
    """Ids or sequences of the file that the split does not have."""

    @property
    def covered(self) -> list[int]:
        """Places of the examples that every target has a prediction of, in order."""
        places = [set(found) for found in self.by_target.values()]
        return sorted(set.intersection(*places)) if places else []


def read_answers(path: Path, split: Split) -> Answers:
    """Read a file of predictions.

    Raises:
        DataError: it cannot be read, names nothing that the task asks for, has an id twice, or a
            prediction that its example cannot have; the line or the id is named.
    """
    if path.suffix.lower() == ".npz":
        return _read_npz(path, split)
    if split.card.kind == "residue_pair":
        raise DataError(
            "contacts are an array [residues, residues] of probabilities for each id",
            where=str(path),
            fix="write an npz: numpy.savez('contacts.npz', **{id: array, …})",
        )
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            rows = ((f"line {reader.line_num}", row) for row in reader)
            return _read_rows(rows, list(reader.fieldnames or ()), path, split)
    except csv.Error as error:
        raise DataError(f"not a valid CSV: {error}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise DataError("the CSV is not UTF-8 text", where=str(path)) from error
    except OSError as error:
        raise DataError(f"cannot read the CSV: {error.strerror}", where=str(path)) from error


def _read_rows(
    rows: Iterable[tuple[str, dict[Any, Any]]], columns: list[str], path: Path, split: Split
) -> Answers:
    named = next((name for name in ("id", "sequence") if name in columns), None)
    targets = _targets(columns, split)
    if named is None or not targets:
        generic = _GENERIC[split.card.kind]
        raise DataError(
            "the CSV needs a column id (or sequence) and one of predictions",
            where=f"{path}, line 1",
            fix=f"it has: {text.names(columns) or 'nothing'}; name the predictions {generic}, or "
            f"{', '.join(target.name for target in split.card.targets)}",
        )
    places = _places(split, named)
    found = Answers({target.name: {} for target in targets.values()})
    seen: set[str] = set()
    for place, row in rows:
        where = f"{path}, {place}"
        if None in row or None in row.values():
            raise DataError("more or fewer cells than columns", where=where)
        key = row[named].strip()
        if key in seen:
            raise DataError(f"the {named} {text.shown(key, 40)} stands there twice", where=where)
        seen.add(key)
        if key not in places:
            found.unknown.append(key)
            continue
        for column, target in targets.items():
            given = row[column].strip()
            if not given:
                continue  # no prediction: it counts as left out
            read = cell(given, target, split.card.kind, where)
            for example in places[key]:
                values = _values(read, target, split, example, where)
                found.by_target[target.name][example] = values
    return found


def _targets(columns: list[str], split: Split) -> dict[str, Target]:
    """Return the targets that a file predicts, by the column they stand in."""
    card = split.card
    there = [target for target in card.targets if split.has(target.name)]
    found = {target.name: target for target in there if target.name in columns}
    found |= {
        target.field: target
        for target in there
        if target.field in columns and target not in found.values()
    }
    generic = _GENERIC.get(card.kind)
    if not found and generic in columns:
        # The target that stands in tables.
        primary = card.primary.partition(".")[0]
        found = {generic: card.target(primary)}
    return found


def _places(split: Split, named: str) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for place, key in enumerate(split.ids if named == "id" else split.sequences):
        found.setdefault(key, []).append(place)
    return found


def _values(read: Any, target: Target, split: Split, place: int, where: str) -> Values:
    """Turn what a cell says into the values of an example's items."""
    kind = split.card.kind
    if kind == "sequence_value":
        return np.array([read], np.float32)
    classes = target.classes or 0
    chosen = np.atleast_1d(np.asarray(read, np.int64))
    residues = len(split.sequences[place])
    if kind == "token_class" and len(chosen) != residues:
        raise DataError(
            f"{len(chosen)} classes for the {residues} residues of {split.ids[place]}",
            where=where,
            fix="give one for each residue, -1 for none",
        )
    if chosen.min(initial=0) < -1 or chosen.max(initial=0) >= classes:
        raise DataError(
            f"{target.name} has the classes 0 to {classes - 1}, not {chosen.max()}", where=where
        )
    scores = np.zeros((len(chosen), classes), np.float32)
    known = chosen >= 0
    scores[known, chosen[known]] = 1
    return scores


def _read_npz(path: Path, split: Split) -> Answers:
    card = split.card
    target = card.target(card.primary.partition(".")[0])
    places = _places(split, "id")
    found = Answers({target.name: {}})
    try:
        members = Members(path)
        for id in members.names:
            if id not in places:
                found.unknown.append(id)
                continue
            for place in places[id]:
                array = np.asarray(members.read(id), np.float32)
                found.by_target[target.name][place] = _items(array, target, split, place, path)
    except READING as error:
        raise DataError(
            f"not a file of predictions: {error}", where=str(path), fix="write it again"
        ) from error
    return found


def _items(array: Values, target: Target, split: Split, place: int, path: Path) -> Values:
    """Return the values of an example's items from an array of scores."""
    residues, kind = len(split.sequences[place]), split.card.kind
    expected: tuple[int, ...] = {
        "residue_pair": (residues, residues),
        "token_class": (residues, target.classes or 0),
        "sequence_class": (target.classes or 0,),
        "sequence_value": (),
    }[kind]
    if array.shape != expected:
        raise DataError(
            f"the array of {split.ids[place]} has the shape {array.shape} instead of {expected}",
            where=str(path),
            fix="give an array for each id as docs/models.md says",
        )
    if not np.isfinite(array).all():
        raise DataError(
            f"the array of {split.ids[place]} has values that are not finite", where=str(path)
        )
    if kind == "residue_pair":
        return array[np.triu_indices(residues, SMALLEST_SEPARATION)]
    return array if kind == "token_class" else array[None]
