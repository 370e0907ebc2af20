from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest

from tape_bench import paths
from tape_bench.data.examples import load_task
from tape_bench.data.leakage import overlap
from tape_bench.errors import DataError, UsageError

Maker = Callable[..., Any]
KINDS = ["token_class", "sequence_class", "sequence_value", "residue_pair"]


@pytest.mark.parametrize("kind", KINDS)
def test_examples_carry_what_the_records_hold(
    kind: str, make_card: Maker, data_root: Maker, toy_records: Maker
) -> None:
    task = load_task(make_card(kind), data_root(kind))
    assert list(task) == ["train", "valid", "test", "extra"]
    assert [split.role for split in task.values()] == ["train", "valid", "test", "test"]
    raw = toy_records(kind, seed=2)
    for example, record in zip(task["test"], raw, strict=True):
        assert (example.id, example.sequence) == (record["id"], record["primary"])
        (value,) = example.targets.values()
        if kind == "token_class":
            np.testing.assert_array_equal(value, record["ss3"])
            assert value.dtype.kind == "i"
        elif kind == "sequence_class":
            assert value == record["fold_label"]
            assert type(value) is int
        elif kind == "sequence_value":
            assert value == record["score"][0]
            assert type(value) is float
        else:
            valid = record["valid_mask"]
            np.testing.assert_array_equal(value[valid], record["tertiary"][valid])
            assert np.isnan(value[~valid]).all()
            assert value.dtype == np.float64


def test_a_split_is_a_sequence(make_card: Maker, data_root: Maker) -> None:
    split = load_task(make_card("sequence_value"), data_root("sequence_value"))["train"]
    assert len(split) == len(list(split)) == split.n_total == 4
    assert split[-1].id == split.ids[-1] == "p3"
    with pytest.raises(IndexError):
        split[4]
    assert [example.id for example in split.take([2, 0])] == ["p2", "p0"]


def test_optional_targets_are_there_or_not(make_card: Maker, data_root: Maker) -> None:
    records = [{"primary": "MKV", "ss3": [0, 1, 2], "ss8": [7, 0, -1]}]
    task = load_task(make_card("token_class"), data_root("token_class", test=records))
    assert task["test"].has("ss8")
    assert not task["train"].has("ss8")
    assert set(task["train"][0].targets) == {"ss3"}
    assert task["test"][0].targets["ss8"].tolist() == [7, 0, -1]
    assert task["test"].ids == ["0"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_records_in_any_layout_are_the_same_data(
    kind: str, tmp_path: Path, make_card: Maker, data_root: Maker, toy_records: Maker
) -> None:
    card = make_card(kind)
    from_lmdb = load_task(card, data_root(kind))
    (tmp_path / "other" / "toy").mkdir(parents=True)
    for seed, name in enumerate(card.splits):
        records = toy_records(kind, seed=seed)
        path = tmp_path / "other" / "toy" / f"toy_{name}"
        if kind == "residue_pair" or name == "train":
            as_lists = [
                {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in r.items()}
                for r in records
            ]
            path.with_suffix(".json").write_text(json.dumps(as_lists))
        else:
            field = card.targets[0].field
            with path.with_suffix(".csv").open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "sequence", field])
                for r in records:
                    numbers = " ".join(str(x) for x in np.atleast_1d(r[field]))
                    writer.writerow([r["id"], r["primary"], numbers])
    other = load_task(card, tmp_path / "other")
    assert {n: s.digest for n, s in other.items()} == {n: s.digest for n, s in from_lmdb.items()}
    assert other.digest == from_lmdb.digest


def test_the_limit_takes_the_first_records_and_keeps_the_identity(
    make_card: Maker, data_root: Maker
) -> None:
    card, root = make_card("token_class"), data_root("token_class")
    whole, limited = load_task(card, root), load_task(card, root, limit=2)
    assert limited["test"].ids == whole["test"].ids[:2]
    assert (len(limited["test"]), limited["test"].n_total) == (2, 4)
    assert limited.digest == whole.digest
    assert len(load_task(card, root, limit=99)["test"]) == 4
    with pytest.raises(UsageError, match="limit of 0"):
        load_task(card, root, limit=0)


def test_a_set_is_decoded_once(
    make_card: Maker, data_root: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    card, root = make_card("sequence_value"), data_root("sequence_value")
    first = load_task(card, root)
    monkeypatch.setattr(
        "tape_bench.data.formats.detect.read", lambda *_: pytest.fail("decoded again")
    )
    assert load_task(card, root).digest == first.digest


def test_changed_files_are_read_again(make_card: Maker, data_root: Maker) -> None:
    card, root = make_card("sequence_value"), data_root("sequence_value")
    before = load_task(card, root)
    store = root / "toy" / "toy_test.lmdb"
    with lmdb.open(str(store), map_size=1 << 26) as env, env.begin(write=True) as entry:
        record = pickle.loads(entry.get(b"0"))
        entry.put(b"0", pickle.dumps(record | {"score": 9.0}))
    after = load_task(card, root)
    assert after["test"].digest != before["test"].digest
    assert after["train"].digest == before["train"].digest


def test_a_missing_test_split_is_absent_but_the_headline_is_needed(
    make_card: Maker, data_root: Maker
) -> None:
    card = make_card("sequence_value")
    task = load_task(card, data_root("sequence_value", extra=None))
    assert list(task) == ["train", "valid", "test"]
    assert task.status == "partial"
    assert "extra absent" in task.reason


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_missing_split_is_an_error(split: str, make_card: Maker, data_root: Maker) -> None:
    root = data_root("sequence_value", **{split: None})
    with pytest.raises(DataError, match=f"the split {split} of the task toy is missing") as caught:
        load_task(make_card("sequence_value"), root)
    assert f"toy_{split}" in (caught.value.fix or "")


def test_a_bad_record_names_file_record_and_id(make_card: Maker, data_root: Maker) -> None:
    bad = [{"primary": "MKV", "id": "a", "score": 1.0}, {"primary": "MJV", "id": "b", "score": 1.0}]
    root = data_root("sequence_value", valid=bad)
    with pytest.raises(DataError, match="'J' at residue 2") as caught:
        load_task(make_card("sequence_value"), root)
    assert caught.value.where == f"{root / 'toy' / 'toy_valid.lmdb'}, record 1 (b)"


def test_a_malicious_record_is_not_run(tmp_path: Path, make_card: Maker, data_root: Maker) -> None:
    canary = tmp_path / "canary"
    evil = f"cos\nsystem\n(S'touch {canary}'\ntR.".encode()
    with pytest.raises(DataError, match=r"asks for os\.system.*nothing was run"):
        load_task(make_card("sequence_value"), data_root("sequence_value", train=[evil]))
    assert not canary.exists()


@pytest.mark.parametrize("residues", [1, 2, 3, 4, 6])
def test_proteins_without_a_pair_are_kept_and_counted(
    residues: int, make_card: Maker, data_root: Maker, toy_records: Maker
) -> None:
    line = 3.8 * np.arange(9.0)[:, None] * [1, 0, 0]
    short = {"primary": "A" * residues, "tertiary": line[:residues]}
    gone = {"primary": "A" * 9, "tertiary": line, "valid_mask": [1] * 6 + [0] * 3}
    just = {"primary": "A" * 7, "tertiary": line[:7], "valid_mask": [1] + [0] * 5 + [1]}
    records = [r | {"id": str(i)} for i, r in enumerate([short, gone, just])]
    card = make_card("residue_pair")
    split = load_task(card, data_root("residue_pair", test=records))["test"]
    assert len(split) == 3
    assert split.n_scored == 1
    assert split.skipped == {
        "fewer than 7 residues: no pair 6 apart": 1,
        "no two residues with coordinates 6 or more apart": 1,
    }


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        ("residue_pair", {"primary": "MKVL", "tertiary": np.zeros((4, 3))}),
        (
            "residue_pair",
            {"primary": "A" * 9, "tertiary": np.zeros((9, 3)), "valid_mask": [False] * 9},
        ),
        ("token_class", {"primary": "MKVL", "ss3": [-1] * 4}),
    ],
)
def test_a_split_with_nothing_to_score_is_an_error(
    kind: str, record: dict[str, Any], make_card: Maker, data_root: Maker
) -> None:
    root = data_root(kind, test=[record, record])
    with pytest.raises(DataError, match="no protein of the split test can be scored"):
        load_task(make_card(kind), root)


def test_unlabelled_proteins_are_counted(
    make_card: Maker, data_root: Maker, toy_records: Maker
) -> None:
    records = [{"primary": "MKVL", "ss3": [-1] * 4}, {"primary": "MKVL", "ss3": [-1, 2, -1, -1]}]
    split = load_task(make_card("token_class"), data_root("token_class", test=records))["test"]
    assert split.skipped == {"no residue has a label": 1}
    assert split.n_scored == 1


def test_overlap_counts_test_records_that_stand_in_train(
    make_card: Maker, data_root: Maker, toy_records: Maker
) -> None:
    train = toy_records("sequence_value", count=4, seed=0)
    test = [train[1] | {"id": "x"}, train[1] | {"id": "y"}, *toy_records("sequence_value", seed=9)]
    root = data_root("sequence_value", test=test, valid=train)
    assert overlap(load_task(make_card("sequence_value"), root)) == {"test": 2, "extra": 0}


def test_the_sample_is_there_and_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("stability", "sample")
    assert (task.status, task.source) == ("simulated", "sample")
    assert set(task) == set(task.card.splits)
    monkeypatch.setattr("tape_bench.data.simulated.build", lambda *_: pytest.fail("made again"))
    assert load_task("stability", "sample").digest == task.digest


def test_an_unknown_task_is_named_with_its_neighbours() -> None:
    with pytest.raises(UsageError, match="did you mean stability"):
        load_task("stabilty", "sample")


REAL = {
    "secondary_structure": ("partial", "train 8634 of 8678, casp12 20 of 21"),
    "contact": ("other", "train 58 of 25299"),
    "remote_homology": ("partial", "test_superfamily_holdout 700 of 1254"),
    "fluorescence": ("official", "d63d1d51ec8c20ff0d981e4cbd67457a"),
    "stability": ("official", "aa1e06eb5a59e0ecdae581e9ea029675"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_real_data_are_what_they_are(shared: Path, name: str) -> None:
    task = load_task(name, shared / "data")
    assert (task.status, task.source) == (REAL[name][0], f"{task.card.source.folder}.tar.gz")
    assert REAL[name][1] in task.reason
    # Every record, beside what the standard library and numpy make of the same trusted file.
    for split_name, split in task.items():
        folder = task.card.source.folder
        (store,) = paths.cache().glob(f"unpacked/*/{folder}/{folder}_{split_name}.lmdb")
        with lmdb.open(str(store), readonly=True, lock=False) as env, env.begin() as entry:
            assert len(split) == pickle.loads(entry.get(b"num_examples"))
            for index in range(0, len(split), max(1, len(split) // 200)):
                record = pickle.loads(entry.get(str(index).encode()))
                example = split[index]
                assert example.sequence == record["primary"]
                for target in split.card.targets:
                    if target.field not in record:
                        assert target.name not in example.targets
                    elif split.card.kind == "residue_pair":
                        valid = np.asarray(record["valid_mask"], bool)
                        np.testing.assert_allclose(
                            example.targets[target.name][valid], record[target.field][valid], 1e-6
                        )
                    else:
                        np.testing.assert_array_equal(
                            example.targets[target.name], np.squeeze(record[target.field])
                        )


@pytest.mark.slow
def test_stability_s_known_overlap(shared: Path) -> None:
    task = load_task("stability", shared / "data" / "official")
    assert overlap(task) == {"test": 26}
    assert len(set(task["train"].sequences)) == 53571
    assert len(set(task["train"].ids)) == len(task["train"]) == 53614


def test_a_split_that_is_not_there_is_named_with_its_neighbours() -> None:
    task = load_task("stability", "sample")
    with pytest.raises(UsageError, match="did you mean test") as caught:
        task["tst"]
    assert isinstance(caught.value, KeyError)
    assert "tst" not in task
    assert task.get("tst") is None


def test_data_that_were_never_fetched_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPE_BENCH_DATA", "/nowhere/at/all")
    with pytest.raises(DataError, match="no such data place") as caught:
        load_task("stability")
    assert "/nowhere/at/all" in str(caught.value)


@pytest.mark.parametrize("limit", ["3", 2.5])
def test_a_limit_is_a_whole_number(limit: object) -> None:
    with pytest.raises(UsageError, match="limit"):
        load_task("stability", "sample", limit)  # type: ignore[arg-type]
