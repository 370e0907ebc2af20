from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tape_bench.cards import TaskCard
from tape_bench.data.formats import detect
from tape_bench.errors import DataError

Maker = Callable[..., Any]


def jsonable(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in record.items()}
        for record in records
    ]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def card(make_card: Maker) -> TaskCard:
    return make_card("sequence_value")


def test_lmdb_gives_the_records_in_order(
    tmp_path: Path, card: TaskCard, toy_records: Maker, write_lmdb: Maker
) -> None:
    records = toy_records("sequence_value", count=12)
    found = list(detect.read(write_lmdb(tmp_path / "a", records), card))
    assert [place for place, _ in found] == [f"record {i}" for i in range(12)]
    assert [r["primary"] for _, r in found] == [r["primary"] for r in records]


def test_lmdb_needs_no_lock_file_and_no_right_to_write(
    tmp_path: Path, card: TaskCard, toy_records: Maker, write_lmdb: Maker
) -> None:
    store = write_lmdb(tmp_path / "a", toy_records("sequence_value"))
    (store / "lock.mdb").unlink()
    (store / "data.mdb").chmod(0o444)
    store.chmod(0o555)
    try:
        assert len(list(detect.read(store, card))) == 4
        assert not (store / "lock.mdb").exists()
    finally:
        store.chmod(0o755)


def test_the_layout_is_found_by_looking_not_by_the_name(
    tmp_path: Path, card: TaskCard, toy_records: Maker, write_lmdb: Maker
) -> None:
    records = toy_records("sequence_value")
    wrongly_named = write_lmdb(tmp_path / "folder", records) / "data.mdb"
    single = wrongly_named.rename(tmp_path / "toy_train.csv")
    as_json = write(tmp_path / "toy_train.lmdb", json.dumps(jsonable(records)))
    rows = [f"{r['primary']},{r['score'][0]}" for r in records]
    as_csv = write(tmp_path / "toy_train.json", "sequence,score\n" + "\n".join(rows))
    for path in (single, as_json, as_csv):
        found = [record["primary"] for _, record in detect.read(path, card)]
        assert found == [r["primary"] for r in records], path


@pytest.mark.parametrize(
    ("count", "holes", "fault"),
    [
        (-1, [], "no key 'num_examples'"),
        (4, [2], "record 2 of 4 is missing"),
        (5, [], "record 4 of 5 is missing"),
        (3, [], "there is a record 3 as well"),
        ("many", [], "not a number of records"),
        (-7, [], "not a number of records"),
    ],
)
def test_an_lmdb_that_does_not_count_right_is_refused(
    tmp_path: Path,
    card: TaskCard,
    toy_records: Maker,
    write_lmdb: Maker,
    count: Any,
    holes: list[int],
    fault: str,
) -> None:
    records = toy_records("sequence_value")
    store = write_lmdb(
        tmp_path / "a", [None if i in holes else r for i, r in enumerate(records)], count
    )
    with pytest.raises(DataError, match=fault) as caught:
        list(detect.read(store, card))
    assert str(store) in (caught.value.where or "")


@pytest.mark.parametrize("kept", [0, 10, 100, 4096, 8192, 12288, -4096, -1])
def test_an_lmdb_cut_short_is_refused_before_it_is_mapped(
    tmp_path: Path, card: TaskCard, toy_records: Maker, write_lmdb: Maker, kept: int
) -> None:
    store = write_lmdb(tmp_path / "a", toy_records("sequence_value", count=40))
    file = store / "data.mdb"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"cut short|no LMDB"):
        list(detect.read(store, card))


def test_a_damaged_page_is_an_error_of_ours(
    tmp_path: Path, card: TaskCard, toy_records: Maker, write_lmdb: Maker
) -> None:
    store = write_lmdb(tmp_path / "a", toy_records("sequence_value", count=40))
    content = bytearray((store / "data.mdb").read_bytes())
    content[8192:] = struct.pack("<Q", 2**40) * (len(content[8192:]) // 8)
    (store / "data.mdb").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read the LMDB.*CORRUPTED"):
        list(detect.read(store, card))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[{"primary": "MKV", "score": 1.0}, {"prim', "not valid JSON"),
        ('{"primary": "MKV", "score": 1.0}', "not a list of records"),
        ("[" * 100_000, "not a JSON list"),
        ("", "empty"),
        ("\n \n", "empty"),
        ("some words\nand more", "no layout"),
        (">p1\nMKV\n", "no targets"),
        ("id,sequence\np,MKV\n", "needs the columns score"),
        ("id,score\np,1\n", "exactly one of primary, sequence"),
        ("primary,sequence,score\nMKV,MKV,1\n", "exactly one of primary, sequence"),
        ("sequence,score,score\nMKV,1,1\n", "stands twice"),
        ("sequence,score\nMKV,high\n", "should hold a number"),
        ("sequence,score\nMKV,\n", "should hold a number"),
        ("sequence,score\nMKV\n", "more or fewer cells"),
        ("sequence,score\nMKV,1,2\n", "more or fewer cells"),
        ('sequence,score\n"MKV,1\n', "not a valid CSV"),
    ],
)
def test_a_broken_file_says_what_and_where(
    tmp_path: Path, card: TaskCard, text: str, fault: str
) -> None:
    path = write(tmp_path / "toy_train", text)
    with pytest.raises(DataError, match=fault) as caught:
        list(detect.read(path, card))
    assert str(path) in (caught.value.where or "")


def test_a_csv_that_is_not_text_is_refused(tmp_path: Path, card: TaskCard) -> None:
    path = tmp_path / "toy_train"
    path.write_bytes(b"sequence,score\nMKV,1\n\xff\xfe,2\n")
    with pytest.raises(DataError, match="not UTF-8"):
        list(detect.read(path, card))


def test_a_csv_says_which_line(tmp_path: Path, card: TaskCard) -> None:
    path = write(tmp_path / "toy_train", "sequence,score\nMKV,1\nMKL,x\n")
    with pytest.raises(DataError) as caught:
        list(detect.read(path, card))
    assert caught.value.where == f"{path}, line 3"


@pytest.mark.parametrize("cell", ["HHE", "0 0 1"])
def test_csv_classes_a_residue_are_letters_or_numbers(
    tmp_path: Path, make_card: Maker, cell: str
) -> None:
    path = write(tmp_path / "toy_train", f"\ufeffid,sequence,ss3\r\np,MKV,{cell}\r\n")
    ((_, record),) = detect.read(path, make_card("token_class"))
    assert record == {"primary": "MKV", "id": "p", "ss3": [0, 0, 1]}


def test_csv_classes_a_residue_may_be_unlabelled(tmp_path: Path, make_card: Maker) -> None:
    path = write(tmp_path / "toy_train", "sequence,ss3\nMKV,-1 2 -1\n")
    ((_, record),) = detect.read(path, make_card("token_class"))
    assert record["ss3"] == [-1, 2, -1]


def test_csv_refuses_a_letter_that_is_no_label(tmp_path: Path, make_card: Maker) -> None:
    path = write(tmp_path / "toy_train", "sequence,ss3\nMKV,HHQ\n")
    with pytest.raises(DataError, match="H, E, C"):
        list(detect.read(path, make_card("token_class")))


def test_csv_cannot_hold_coordinates(tmp_path: Path, make_card: Maker) -> None:
    path = write(tmp_path / "toy_train", "sequence,tertiary\nMKV,1\n")
    with pytest.raises(DataError, match="cannot hold coordinates"):
        list(detect.read(path, make_card("residue_pair")))


def test_a_split_is_found_by_its_whole_name(tmp_path: Path) -> None:
    for name in ("toy_train_unfiltered.lmdb", "toy_train.json", "toy_train2.json"):
        (tmp_path / name).touch()
    assert detect.find(tmp_path, "toy_train") == tmp_path / "toy_train.json"
    assert detect.find(tmp_path, "toy_valid") is None


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    (tmp_path / "toy_train.json").touch()
    (tmp_path / "toy_train.csv").touch()
    with pytest.raises(DataError, match=r"toy_train\.csv, toy_train\.json"):
        detect.find(tmp_path, "toy_train")


def test_a_folder_without_data_is_refused(tmp_path: Path, card: TaskCard) -> None:
    (tmp_path / "toy_train.lmdb").mkdir()
    with pytest.raises(DataError, match=r"no data\.mdb"):
        detect.read(tmp_path / "toy_train.lmdb", card)


def test_a_single_file_lmdb_may_have_its_lock_beside_it(tmp_path: Path) -> None:
    for name in ("toy_train.lmdb", "toy_train.lmdb-lock"):
        (tmp_path / name).touch()
    assert detect.find(tmp_path, "toy_train") == tmp_path / "toy_train.lmdb"
    (tmp_path / "toy_train.json").touch()
    with pytest.raises(DataError, match="two files"):
        detect.find(tmp_path, "toy_train")


@pytest.mark.parametrize("count", [np.int64(4), np.array(4), 4])
def test_the_number_of_records_may_be_numpys(
    tmp_path: Path, card: TaskCard, toy_records: Maker, write_lmdb: Maker, count: Any
) -> None:
    store = write_lmdb(tmp_path / "a", toy_records("sequence_value"), count=count)
    assert len(list(detect.read(store, card))) == 4


@pytest.mark.parametrize("count", [np.float64(4), np.array([4]), True, "4", -4, 10**90])
def test_what_is_no_number_of_records(
    tmp_path: Path, card: TaskCard, toy_records: Maker, write_lmdb: Maker, count: Any
) -> None:
    store = write_lmdb(tmp_path / "a", toy_records("sequence_value"), count=count)
    with pytest.raises(DataError, match=r"number of records|is missing|cannot read"):
        list(detect.read(store, card))


def test_json_lines_are_read_a_record_a_line(
    tmp_path: Path, card: TaskCard, toy_records: Maker
) -> None:
    records = jsonable(toy_records("sequence_value"))
    lines = "\n".join(json.dumps(record) for record in records)
    found = list(detect.read(write(tmp_path / "a.jsonl", lines + "\n\n"), card))
    assert [record for _, record in found] == records
    assert found[1][0] == "line 2"
    broken = write(tmp_path / "b.jsonl", lines[:-5])
    with pytest.raises(DataError, match="one JSON record a line") as caught:
        list(detect.read(broken, card))
    assert caught.value.where == f"{broken}, line 4"


@pytest.mark.parametrize("content", ["[" * 100_000, '[{"n": ' + "1" * 5000 + "}]", "[[[]]" * 70])
def test_json_of_no_bounds_is_an_error_of_ours(
    tmp_path: Path, card: TaskCard, content: str
) -> None:
    with pytest.raises(DataError):
        list(detect.read(write(tmp_path / "a.json", content), card))


@pytest.mark.parametrize("cell", ["1_0", "１", "inf", "nan", "0x1", "1,0", "", "1 2", "١"])
def test_what_no_table_writes_is_no_number(tmp_path: Path, card: TaskCard, cell: str) -> None:
    path = write(tmp_path / "a.csv", f'id,primary,score\np,MKV,"{cell}"\n')
    with pytest.raises(DataError, match="should hold a number") as caught:
        list(detect.read(path, card))
    assert caught.value.where == f"{path}, line 2"


@pytest.mark.parametrize(
    ("cell", "value"), [("1", 1.0), ("-.5", -0.5), ("+2e-3", 0.002), ("7.", 7)]
)
def test_numbers_as_tables_write_them(
    tmp_path: Path, card: TaskCard, cell: str, value: float
) -> None:
    path = write(tmp_path / "a.csv", f"id,primary,score\np,MKV,{cell}\n")
    assert next(iter(detect.read(path, card)))[1]["score"] == value


def test_a_table_whose_cells_are_json_is_read_as_such(
    tmp_path: Path, make_card: Maker, toy_records: Maker
) -> None:
    import csv

    records = jsonable(toy_records("token_class"))
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "primary", "ss3", "evolutionary"])
        writer.writeheader()
        kept = [{name: record[name] for name in writer.fieldnames} for record in records]
        # As TAPE's scripts/lmdb_to_csv.py writes every cell.
        writer.writerows({name: json.dumps(value) for name, value in r.items()} for r in kept)
    found = [record for _, record in detect.read(path, make_card("token_class"))]
    assert found == [{n: record[n] for n in ("id", "primary", "ss3")} for record in records]
