"""One raw record, checked against the task's card: right fields, types, lengths and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench import text
from tape_bench.cards import Kind, Target, TaskCard
from tape_bench.data.coordinates import believed
from tape_bench.data.formats.csv import SEQUENCE_COLUMNS
from tape_bench.data.vocabulary import TAPE_IUPAC
from tape_bench.errors import DataError

LONGEST_ID = 1000
"""Letters of the longest id of a record: predictions keep all ids as wide as the longest."""

UNLABELLED = -1
"""Class of a residue nobody gave a class."""


@dataclass(frozen=True)
class Record:
    """A protein and its targets, by record field."""

    id: str | None
    """None where the data has no ids."""
    sequence: str
    fields: Mapping[str, NDArray[Any]]
    """token_class `[residues]`, in the smallest type that holds the classes; residue_pair
    coordinates in Angstrom `[residues, 3]`, NaN rows where there is no atom; one number `[]`
    otherwise. Numbers are float32, as in TAPE's own files."""
    cluster: str | None = None
    """Which proteins it belongs together with; None where the task or the data do not say."""
    disbelieved: NDArray[np.bool_] | None = None
    """Of coordinates: which are no atom's, though the record says so, `[residues]`; NaN rows."""


def check(raw: Any, card: TaskCard, where: str) -> Record:
    """Turn one raw record into a checked one.

    Args:
        raw: a record in TAPE's layout, from any store.
        card: the task it is for.
        where: file and record, for messages; the record's id is added.

    Raises:
        DataError: says which field is missing or wrong, and where.
    """
    if not isinstance(raw, Mapping):
        raise DataError(f"a record is a {type(raw).__name__}, not a set of fields", where=where)
    id = _text(raw.get("id"), "id", where)
    if id is not None:
        where = f"{where} ({id[:80]})"
        if len(id) > LONGEST_ID:
            raise DataError(
                f"an id of {len(id)} letters: the longest may have {LONGEST_ID}",
                where=where,
                fix="give the record a shorter id, or none",
            )
    sequence = _sequence(raw, where)
    fields = {}
    disbelieved = None
    for target in card.targets:
        if raw.get(target.field) is not None and card.kind == "residue_pair":
            places, disbelieved = _coordinates(raw, target.field, len(sequence), where)
            fields[target.field] = places
        elif raw.get(target.field) is not None:
            fields[target.field] = _target(raw, target, card.kind, len(sequence), where)
        elif not target.optional:
            raise DataError(
                f"the record has no field {target.field!r}",
                where=where,
                fix=f"the task {card.name} needs it; the record has: {text.names(raw)}",
            )
    return Record(id, sequence, fields, _cluster(raw, card, where), disbelieved)


def _text(given: Any, what: str, where: str) -> str | None:
    if given is None:
        return None
    if isinstance(given, bytes):
        try:
            given = given.decode()
        except UnicodeDecodeError as error:
            raise DataError(f"the {what} is not UTF-8 text", where=where) from error
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str) or not given:
        raise DataError(
            f"{text.shown(given)} is no {what}",
            where=where,
            fix=f"use text, or leave the {what} out",
        )
    if (fault := text.fault_of_name(given)) is not None:
        raise DataError(
            f"the {what} {fault}", where=where, fix=f"correct the {what}, or leave it out"
        )
    return given


def _cluster(raw: Mapping[str, Any], card: TaskCard, where: str) -> str | None:
    if card.cluster is None:
        return None
    field = card.cluster.field
    value = _text(raw.get(field), field, where)
    if value is None:
        return None
    name = card.cluster.name_of(value)
    if not name:
        raise DataError(
            f"the rule of the card finds no cluster in the {field} {text.shown(value)}",
            where=where,
            fix=f"correct the record, or the rule {card.cluster.rule!r} in the card {card.name}",
        )
    return name


def _sequence(raw: Mapping[str, Any], where: str) -> str:
    given, *others = [raw[name] for name in SEQUENCE_COLUMNS if name in raw] or [None]
    if not isinstance(given, str):
        raise DataError(
            f"the sequence should be text, not {_kind_of(given)}",
            where=where,
            fix="a record holds its sequence as `primary`, in one-letter code",
        )
    if not given:
        raise DataError("an empty sequence", where=where, fix="remove the record")
    TAPE_IUPAC.encode(given, where=where)
    if any(not isinstance(other, str) or other != given for other in others):
        raise DataError(
            f"{' and '.join(SEQUENCE_COLUMNS)} are two different sequences",
            where=where,
            fix="give the record one of them",
        )
    return given


def _target(
    raw: Mapping[str, Any], target: Target, kind: Kind, residues: int, where: str
) -> NDArray[Any]:
    name = target.field
    if kind == "sequence_value":
        return _value(raw[name], name, where)
    labels = _array(raw[name], name, "iu", "whole numbers", where)
    lowest = 0
    if kind == "token_class":
        lowest = UNLABELLED
        _check_length(labels, name, residues, where)
    else:
        labels = _single(labels, name, where)
    assert target.classes is not None, "cards give every class target its number of classes"
    wrong = np.flatnonzero((labels < lowest) | (labels >= target.classes))
    if wrong.size:
        at = f" at residue {wrong[0] + 1}" if kind == "token_class" else ""
        unlabelled = " (or -1, unlabelled)" if kind == "token_class" else ""
        raise DataError(
            f"{name} is {labels.flat[wrong[0]]}{at}",
            where=where,
            fix=f"the task has the classes 0 to {target.classes - 1}{unlabelled}",
        )
    return labels.astype(np.min_scalar_type(-target.classes))


def _value(given: Any, name: str, where: str) -> NDArray[Any]:
    value = _single(_array(given, name, "iuf", "a number", where), name, where)
    with np.errstate(over="ignore"):
        value = value.astype(np.float32)
    if not np.isfinite(value):
        raise DataError(
            f"{name} is {text.shown(given)}, not a finite number",
            where=where,
            fix="remove the record",
        )
    return value


def _coordinates(
    raw: Mapping[str, Any], name: str, residues: int, where: str
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    places = _array(raw[name], name, "iuf", "numbers", where)
    _check_length(places, name, residues, where, columns=3)
    with np.errstate(over="ignore"):
        places = places.astype(np.float32)
    if raw.get("valid_mask") is None:
        return believed(places, ~np.isnan(places).all(axis=1), where)
    mask = _array(raw["valid_mask"], "valid_mask", "biuf", "true or false", where)
    _check_length(mask, "valid_mask", residues, where)
    wrong = np.flatnonzero((mask != 0) & (mask != 1))
    if wrong.size:
        raise DataError(
            f"valid_mask is {mask[wrong[0]]} at residue {wrong[0] + 1}, something else than true "
            "and false",
            where=where,
            fix="give true (or 1) where a residue has coordinates, false (or 0) elsewhere",
        )
    return believed(places, mask == 1, where)


def _array(given: Any, name: str, kinds: str, wanted: str, where: str) -> NDArray[Any]:
    try:
        array = np.asarray(given)
    except (ValueError, OverflowError, TypeError):  # rows of different lengths, odd objects
        array = np.asarray(None)
    if array.size and array.dtype.kind not in kinds:
        raise DataError(f"{name} should be {wanted}, not {_kind_of(given)}", where=where)
    return array


def _single(array: NDArray[Any], name: str, where: str) -> NDArray[Any]:
    if array.size != 1:
        raise DataError(f"{name} should be one number, not {array.size}", where=where)
    return array.reshape(())


def _check_length(
    array: NDArray[Any], name: str, residues: int, where: str, columns: int | None = None
) -> None:
    wanted = (residues,) if columns is None else (residues, columns)
    if array.shape != wanted:
        raise DataError(
            f"{name} has the shape {list(array.shape)}, the sequence needs {list(wanted)}",
            where=where,
            fix=f"give every one of the {residues} residues its own entry",
        )


def _kind_of(given: Any) -> str:
    if given is None:
        return "missing"
    if isinstance(given, np.ndarray):
        return f"an array of {given.dtype}"
    return f"{type(given).__name__} {text.shown(given, 40)}"
