from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.data.columns import Columns, build
from tape_bench.data.records import Record, check
from tape_bench.errors import DataError

Maker = Callable[..., Any]
KINDS = ["token_class", "sequence_class", "sequence_value", "residue_pair"]


def laid_out(raw: list[dict[str, Any]], card: Any) -> Columns:
    return build([check(r, card, "here") for r in raw], card.kind, "here")


@pytest.mark.parametrize("kind", KINDS)
def test_every_record_comes_back(kind: str, make_card: Maker, toy_records: Maker) -> None:
    raw = toy_records(kind, count=7)
    card = make_card(kind)
    columns = laid_out(raw, card)
    assert columns.ids == [r["id"] for r in raw]
    assert columns.sequences == [r["primary"] for r in raw]
    assert columns.lengths.tolist() == [len(r["primary"]) for r in raw]
    field = card.targets[0].field
    for index, record in enumerate(raw):
        found = columns.target(field, index)
        expected = np.array(record[field]).squeeze()
        if kind == "residue_pair":
            expected = np.where(record["valid_mask"][:, None], expected, np.nan)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_taking_records_is_like_never_having_had_the_others(
    kind: str, make_card: Maker, toy_records: Maker
) -> None:
    raw, card = toy_records(kind, count=9), make_card(kind)
    for rows in ([0, 1, 2], [8, 3, 3 + 1], [5]):
        taken = laid_out(raw, card).take(rows)
        assert taken.digest == laid_out([raw[row] for row in rows], card).digest
    assert len(laid_out(raw, card).take([])) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_shortening_cuts_sequences_and_what_each_residue_has(
    kind: str, make_card: Maker, toy_records: Maker
) -> None:
    raw, card = toy_records(kind, count=9), make_card(kind)
    cut = [
        {
            name: value[:11] if name in ("primary", "ss3", "tertiary", "valid_mask") else value
            for name, value in record.items()
        }
        for record in raw
    ]
    assert laid_out(raw, card).shorten(11).digest == laid_out(cut, card).digest


@given(ids=st.lists(st.sampled_from(["a", "a#2", "a#3", "b", "ü", None]), min_size=1, max_size=9))
def test_ids_are_each_once_and_the_first_of_a_kind_is_kept(ids: list[str | None]) -> None:
    records = [Record(id, "MKV", {"score": np.zeros((), np.float32)}) for id in ids]
    found = build(records, "sequence_value", "here").ids
    assert len(set(found)) == len(ids)
    for index, id in enumerate(ids):
        name = str(index) if id is None else id
        assert found[index].startswith(name)
        if name not in found[:index] and name not in ids[:index]:
            assert found[index] == name


def test_a_repeated_id_is_numbered(make_card: Maker, toy_records: Maker) -> None:
    raw = toy_records("sequence_value", count=3)
    for record in raw:
        record["id"] = b"EEHEE_rd1"
    columns = laid_out(raw, make_card("sequence_value"))
    assert columns.ids == ["EEHEE_rd1", "EEHEE_rd1#2", "EEHEE_rd1#3"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_digest_is_of_content(kind: str, make_card: Maker, toy_records: Maker) -> None:
    card = make_card(kind)
    field = card.targets[0].field
    original = laid_out(toy_records(kind), card).digest
    assert laid_out(toy_records(kind), card).digest == original
    assert laid_out(toy_records(kind)[::-1], card).digest != original
    for name, change in {
        "id": lambda old: old + "x",
        "primary": lambda old: "W" + old[1:] if old[0] != "W" else "A" + old[1:],
        field: lambda old: (np.array(old) + 1) % 3,
    }.items():
        raw = toy_records(kind)
        raw[2][name] = change(raw[2][name])
        assert laid_out(raw, card).digest != original, name
    raw = toy_records(kind)
    raw[1]["evolutionary"] = None  # no task reads it
    assert laid_out(raw, card).digest == original


def test_residues_moved_between_records_change_the_digest(make_card: Maker) -> None:
    card = make_card("sequence_value")
    one = [{"primary": "MKV", "score": 1.0}, {"primary": "LA", "score": 1.0}]
    two = [{"primary": "MK", "score": 1.0}, {"primary": "VLA", "score": 1.0}]
    assert laid_out(one, card).digest != laid_out(two, card).digest


def test_a_field_that_only_some_records_have_is_refused(
    make_card: Maker, toy_records: Maker
) -> None:
    raw = toy_records("token_class")
    raw[2]["ss8"] = raw[2]["ss3"]
    with pytest.raises(DataError, match="ss8 stands in some") as caught:
        laid_out(raw, make_card("token_class"))
    assert caught.value.where == "here, record 2"


def test_no_records_is_refused() -> None:
    with pytest.raises(DataError, match="without records"):
        build([], "sequence_value", "here")
