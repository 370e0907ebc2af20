from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tape_bench.data.records import check
from tape_bench.errors import DataError

Maker = Callable[..., Any]

GOOD: dict[str, dict[str, Any]] = {
    "token_class": {"id": "p", "primary": "MKV", "ss3": [0, -1, 2]},
    "sequence_class": {"id": "p", "primary": "MKV", "fold_label": 3},
    "sequence_value": {"id": "p", "primary": "MKV", "score": [1.5]},
    "residue_pair": {
        "id": "p",
        "primary": "MKV",
        "tertiary": [[0.0, 0, 0], [3.75, 0, 0], [7.5, 0, 0]],
        "valid_mask": [True, True, False],
    },
}
NAN = float("nan")
PLACES = np.arange(9.0).reshape(3, 3)


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_record_is_taken_as_it_is(make_card: Maker, kind: str) -> None:
    record = check(GOOD[kind], make_card(kind), "file, record 0")
    assert (record.id, record.sequence) == ("p", "MKV")


def test_targets_are_kept_in_their_own_types(make_card: Maker) -> None:
    def field(kind: str) -> np.ndarray:
        (found,) = check(GOOD[kind], make_card(kind), "here").fields.values()
        return found

    np.testing.assert_array_equal(field("token_class"), [0, -1, 2])
    assert field("sequence_class") == 3
    assert field("sequence_value") == 1.5
    coordinates = field("residue_pair")
    np.testing.assert_array_equal(coordinates[:2], GOOD["residue_pair"]["tertiary"][:2])
    assert np.isnan(coordinates[2]).all()


@pytest.mark.parametrize(
    ("id", "found"),
    [(b"EEHEE_rd1", "EEHEE_rd1"), ("p", "p"), (7, "7"), (np.int64(7), "7"), (None, None)],
)
def test_ids_may_be_text_bytes_or_numbers(make_card: Maker, id: Any, found: str | None) -> None:
    record = GOOD["sequence_value"] | {"id": id}
    assert check(record, make_card("sequence_value"), "here").id == found


@pytest.mark.parametrize(
    ("kind", "change", "fault"),
    [
        ("sequence_value", {"id": ""}, "is no id"),
        ("sequence_value", {"id": True}, "is no id"),
        ("sequence_value", {"id": 1.5}, "is no id"),
        ("sequence_value", {"id": b"\xff"}, "not UTF-8"),
        ("sequence_value", {"primary": ""}, "an empty sequence"),
        ("sequence_value", {"primary": None}, "should be text, not missing"),
        ("sequence_value", {"primary": b"MKV"}, "should be text, not bytes"),
        ("sequence_value", {"primary": ["M", "K"]}, "should be text, not list"),
        ("sequence_value", {"primary": "MKJ"}, "'J' at residue 3 of 3 is no residue"),
        ("sequence_value", {"primary": "mkv"}, "'m' at residue 1"),
        ("sequence_value", {"primary": "MK*"}, r"'\*' at residue 3"),
        ("sequence_value", {"primary": "M-V"}, "'-' at residue 2"),
        ("sequence_value", {"primary": "M V"}, "' ' at residue 2"),
        ("sequence_value", {"primary": "MΩV"}, "'Ω' at residue 2"),
        ("sequence_value", {"score": None}, "no field 'score'"),
        ("sequence_value", {"score": NAN}, "not a finite number"),
        ("sequence_value", {"score": [float("inf")]}, "not a finite number"),
        ("sequence_value", {"score": 1e300}, "not a finite number"),
        ("sequence_value", {"score": "1.5"}, "should be a number, not str"),
        ("sequence_value", {"score": True}, "should be a number, not bool"),
        ("sequence_value", {"score": [1.0, 2.0]}, "one number, not 2"),
        ("sequence_value", {"score": []}, "one number, not 0"),
        ("sequence_value", {"score": {"a": 1}}, "should be a number, not dict"),
        ("sequence_class", {"fold_label": 4}, "fold_label is 4"),
        ("sequence_class", {"fold_label": -1}, "fold_label is -1"),
        ("sequence_class", {"fold_label": 1.0}, "should be whole numbers, not float"),
        ("sequence_class", {"fold_label": "1"}, "should be whole numbers, not str"),
        ("sequence_class", {"fold_label": 2**70}, "should be whole numbers"),
        ("token_class", {"ss3": [0, 1]}, r"shape \[2\], the sequence needs \[3\]"),
        ("token_class", {"ss3": []}, r"shape \[0\]"),
        ("token_class", {"ss3": [[0], [1], [2]]}, r"shape \[3, 1\]"),
        ("token_class", {"ss3": [0, 3, 1]}, "ss3 is 3 at residue 2"),
        ("token_class", {"ss3": [0, 1, -2]}, "ss3 is -2 at residue 3"),
        ("token_class", {"ss3": [0, 1, 2**40]}, "at residue 3"),
        ("token_class", {"ss3": "HHC"}, "should be whole numbers, not str"),
        ("token_class", {"ss3": [0.0, 1.0, 2.0]}, "should be whole numbers"),
        ("token_class", {"ss3": [0, None, 2]}, "should be whole numbers"),
        ("token_class", {"ss3": [[0], [1, 2]]}, "should be whole numbers"),
        ("token_class", {"ss8": [0, 8, 1]}, "ss8 is 8 at residue 2"),
        ("residue_pair", {"tertiary": PLACES[:2]}, r"shape \[2, 3\]"),
        ("residue_pair", {"tertiary": PLACES.T[:2].T}, r"shape \[3, 2\]"),
        ("residue_pair", {"tertiary": PLACES.ravel()}, r"shape \[9\]"),
        ("residue_pair", {"tertiary": [[0, 0, "x"]] * 3}, "should be numbers"),
        ("residue_pair", {"tertiary": [[NAN, 0, 0]] * 3}, "of residue 1 are no finite"),
        ("residue_pair", {"tertiary": [[0, 0, 1e300]] * 3}, "of residue 1 are no finite"),
        ("residue_pair", {"valid_mask": [True]}, r"valid_mask has the shape \[1\]"),
        ("residue_pair", {"valid_mask": ["y", "y", "n"]}, "should be true or false"),
        ("residue_pair", {"valid_mask": [1, 2, 0]}, "something else than true and false"),
    ],
)
def test_a_bad_record_says_what_and_where(
    make_card: Maker, kind: str, change: dict[str, Any], fault: str
) -> None:
    with pytest.raises(DataError, match=fault) as caught:
        check(GOOD[kind] | change, make_card(kind), "data/toy.lmdb, record 5")
    assert (caught.value.where or "").startswith("data/toy.lmdb, record 5")
    assert caught.value.exit_code == 2


def test_the_message_names_the_record_by_its_id(make_card: Maker) -> None:
    with pytest.raises(DataError) as caught:
        check({"id": b"1abc", "primary": "MK"}, make_card("sequence_value"), "file, record 5")
    assert caught.value.where == "file, record 5 (1abc)"


@pytest.mark.parametrize("raw", [None, 3, "MKV", [1, 2], np.zeros(3)])
def test_a_record_that_is_no_record_is_refused(make_card: Maker, raw: Any) -> None:
    with pytest.raises(DataError, match="not a set of fields"):
        check(raw, make_card("sequence_value"), "here")


def test_coordinates_of_residues_without_an_atom_do_not_matter(make_card: Maker) -> None:
    card = make_card("residue_pair")
    record = GOOD["residue_pair"] | {"tertiary": [[0, 0, 0], [3.8, 0, 0], [NAN, NAN, NAN]]}
    for mask in ([True, True, False], [1, 1, 0], [1.0, 1.0, 0.0], np.array([1, 1, 0], bool)):
        found = check(record | {"valid_mask": mask}, card, "here").fields["tertiary"]
        np.testing.assert_array_equal(np.isnan(found).all(axis=1), [False, False, True])


def test_without_a_mask_every_residue_counts(make_card: Maker) -> None:
    card = make_card("residue_pair")
    record = {name: GOOD["residue_pair"][name] for name in ("primary", "tertiary")}
    assert not np.isnan(check(record, card, "here").fields["tertiary"]).any()
    with pytest.raises(DataError, match="residue 2 are no finite"):
        check(record | {"tertiary": [[0, 0, 0], [NAN, 0, 0], [0, 0, 0]]}, card, "here")


def test_an_optional_field_may_be_absent(make_card: Maker) -> None:
    assert set(check(GOOD["token_class"], make_card("token_class"), "here").fields) == {"ss3"}


@pytest.mark.parametrize("classes", [2, 127, 128, 129, 1195])
def test_every_class_survives_its_small_type(make_card: Maker, classes: int) -> None:
    target = {"name": "ss3", "field": "ss3", "classes": classes}
    card = make_card("token_class", targets=[target])
    labels = [-1, 0, classes - 1]
    found = check({"primary": "MKV", "ss3": labels}, card, "here").fields["ss3"]
    assert found.tolist() == labels


@pytest.mark.parametrize(
    ("id", "fault"),
    [
        ("a\0", "control character"),
        ("\x1b[2Jx", "control character"),
        ("x\ud83d", "half a letter"),
        ("M" * 5000, "5000 letters"),
    ],
)
def test_an_id_is_a_name(make_card: Maker, toy_records: Maker, id: str, fault: str) -> None:
    (record, *_) = toy_records("sequence_value")
    with pytest.raises(DataError, match=fault) as caught:
        check(record | {"id": id}, make_card("sequence_value"), "here")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_record_has_one_sequence(make_card: Maker, toy_records: Maker) -> None:
    (record, *_) = toy_records("sequence_value")
    card = make_card("sequence_value")
    assert check(record | {"sequence": record["primary"]}, card, "here").sequence
    for other in (record["primary"] + "A", None, 3):
        with pytest.raises(DataError, match="two different sequences"):
            check(record | {"sequence": other}, card, "here")


def test_a_value_without_end_is_named_by_its_kind(make_card: Maker, toy_records: Maker) -> None:
    nested: Any = ()
    for _ in range(60):
        nested = (nested, nested)
    (record, *_) = toy_records("sequence_value")
    with pytest.raises(DataError, match="a tuple of 2 is no id"):
        check(record | {"id": nested}, make_card("sequence_value"), "here")
