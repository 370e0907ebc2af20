from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tape_bench import paths
from tape_bench.data.digests import read_digest
from tape_bench.data.examples import load_task
from tape_bench.data.fetch.tarballs import RECEIPT
from tape_bench.data.inventory import status, verify
from tape_bench.data.locate import locate
from tape_bench.data.status import Found, judge
from tape_bench.errors import DataError

Maker = Callable[..., Any]
KIND = "sequence_value"


@pytest.fixture
def root(data_root: Maker) -> Path:
    return data_root(KIND)


@pytest.fixture
def tarball(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "tarballs" / "toy.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        tar.add(root / "toy", "toy")
    return path


def test_root_folder_of_tarballs_and_tarball_hold_the_same_data(
    root: Path, tarball: Path, make_card: Maker
) -> None:
    card = make_card(KIND)
    tasks = [load_task(card, place) for place in (root, tarball, tarball.parent)]
    nested = tarball.parent.parent / "nested"
    shutil.copytree(tarball.parent, nested / "official")
    tasks.append(load_task(card, nested))
    assert len({task.digest for task in tasks}) == 1
    assert [task.source for task in tasks] == ["root", *["toy.tar.gz"] * 3]


def test_a_tarball_is_unpacked_once(
    tarball: Path, make_card: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_task(make_card(KIND), tarball)
    monkeypatch.setattr("tape_bench.data.locate.unpack", lambda *_: pytest.fail("again"))
    assert load_task(make_card(KIND), tarball).digest == first.digest


@pytest.mark.parametrize("receipt", [None, "", "[]", "[" * 100_000, '{"files": 1}'])
def test_what_was_unpacked_without_a_whole_receipt_is_unpacked_again(
    tarball: Path, make_card: Maker, receipt: str | None
) -> None:
    first = load_task(make_card(KIND), tarball)
    (path,) = (paths.cache() / "unpacked").rglob(RECEIPT)
    path.unlink()
    if receipt is not None:
        path.write_text(receipt)
    (path.parent / "toy_train.lmdb" / "data.mdb").unlink()
    assert load_task(make_card(KIND), tarball).digest == first.digest


@pytest.mark.parametrize("made", [False, True])
def test_a_missing_or_empty_data_root_is_an_error(
    tmp_path: Path, make_card: Maker, made: bool
) -> None:
    place = tmp_path / "nowhere"
    if made:
        place.mkdir()
    with pytest.raises(DataError, match="no data for the task" if made else "no such") as caught:
        load_task(make_card(KIND), place)
    assert caught.value.exit_code == 2
    assert "data fetch" in (caught.value.fix or "")


def test_an_empty_task_folder_is_an_error(tmp_path: Path, make_card: Maker) -> None:
    (tmp_path / "toy").mkdir()
    with pytest.raises(DataError, match="the split train of the task toy is missing"):
        load_task(make_card(KIND), tmp_path)


def test_the_same_tarball_in_two_places_is_an_error(tarball: Path, make_card: Maker) -> None:
    for name in ("a", "b"):
        (tarball.parent / name).mkdir()
        shutil.copy(tarball, tarball.parent / name)
    tarball.unlink()
    with pytest.raises(DataError, match="stands in 2 places"):
        load_task(make_card(KIND), tarball.parent)


def test_a_tarball_cut_short_leaves_nothing(tarball: Path, make_card: Maker) -> None:
    tarball.write_bytes(tarball.read_bytes()[:-50])
    for _ in range(2):
        with pytest.raises(DataError, match="cut short or damaged"):
            load_task(make_card(KIND), tarball)


def test_the_status_of_a_known_tarball_survives_unpacking_but_not_editing(
    tarball: Path, make_card: Maker, write_lmdb: Maker, toy_records: Maker, tmp_path: Path
) -> None:
    card = make_card(KIND, records=9, source={"md5": read_digest(tarball).md5})
    cache = tmp_path / "cache"
    assert load_task(card, tarball, cache=cache).status == "official"
    assert load_task(card, tarball, cache=cache).status == "official"
    (store,) = cache.glob("unpacked/*/toy/toy_test.lmdb")
    shutil.rmtree(store)
    write_lmdb(store, toy_records(KIND, seed=77))
    assert load_task(card, tarball, cache=cache).status == "other"


def test_known_digests_of_every_split_prove_the_records(root: Path, make_card: Maker) -> None:
    card = make_card(KIND)
    digests = {name: split.digest for name, split in load_task(card, root).items()}
    declared = {
        name: split.model_dump() | {"sha256": digests[name]} for name, split in card.splits.items()
    }
    assert load_task(make_card(KIND, splits=declared), root).status == "official"
    declared["valid"]["sha256"] = "0" * 64
    assert load_task(make_card(KIND, splits=declared), root).status == "other"


@pytest.mark.parametrize(
    ("counts", "expected", "reason"),
    [
        ({"train": 4, "valid": 4, "test": 4, "extra": 4}, "other", "no digest proves"),
        ({"train": 3, "valid": 4, "test": 4, "extra": 4}, "partial", "train 3 of 4"),
        ({"train": 2, "valid": 2, "test": 2, "extra": 2}, "partial", "extra 2 of 4"),
        ({"train": 1, "valid": 4, "test": 4, "extra": 4}, "other", "train 1 of 4"),
        ({"train": 5, "valid": 3, "test": 4, "extra": 4}, "other", "train 5 of 4, valid 3"),
        ({"train": 4, "valid": 4, "test": 4}, "partial", "extra absent of 4"),
    ],
)
def test_the_verdict_rests_on_counts_where_no_digest_is_known(
    make_card: Maker, counts: dict[str, int], expected: str, reason: str
) -> None:
    found = {name: Found(count, "0" * 64) for name, count in counts.items()}
    for md5 in (None, "0" * 32):
        verdict = judge(make_card(KIND), found, md5)
        assert verdict.status == expected
        assert reason in verdict.reason


def test_status_lists_splits_and_what_is_absent(root: Path, make_card: Maker) -> None:
    absent = make_card(KIND, name="absent", source={"folder": "absent"})
    there, nothing = status([make_card(KIND, records=5), absent], root)
    assert (there.task, there.status, there.source) == ("toy", "partial", "root")
    assert [(s.name, s.records, s.declared) for s in there.splits] == [
        (name, 4, 5) for name in ("train", "valid", "test", "extra")
    ]
    assert all(len(split.digest or "") == 64 for split in there.splits)
    assert (nothing.status, nothing.reason, nothing.faults) == (None, "no data", ())


def test_status_of_a_place_that_is_not_there(tmp_path: Path, make_card: Maker) -> None:
    (nothing,) = status([make_card(KIND)], tmp_path / "none")
    assert nothing.reason == "no data"


def test_status_reports_broken_data_and_goes_on(root: Path, make_card: Maker) -> None:
    (root / "toy" / "toy_valid.lmdb" / "data.mdb").write_bytes(b"")
    (broken,) = status([make_card(KIND)], root)
    assert broken.status is None
    assert "no LMDB data file" in broken.faults[0]


def test_verify_believes_nothing_that_was_read_before(
    root: Path, make_card: Maker, monkeypatch: pytest.MonkeyPatch, toy_records: Maker
) -> None:
    card = make_card(KIND)
    before = status([card], root)
    assert verify([card], root) == before
    # A record changed in a way that size and times do not show, because they are not asked.
    monkeypatch.setattr("tape_bench.data.digests._recall", lambda *_: None)
    file = root / "toy" / "toy_test.lmdb" / "data.mdb"
    sequence = toy_records(KIND, seed=2)[0]["primary"].encode()
    content = file.read_bytes()
    assert sequence in content
    file.write_bytes(content.replace(sequence, sequence[::-1]))
    assert verify([card], root) != before


def test_verify_names_files_that_are_not_what_was_unpacked(
    root: Path, tarball: Path, make_card: Maker, tmp_path: Path
) -> None:
    from tape_bench.data.fetch.mirrors import fetch

    fetched = tmp_path / "fetched"
    fetch(make_card(KIND), [str(tarball)], fetched)
    assert verify([make_card(KIND)], fetched)[0].faults == ()
    shutil.copy(root / "toy" / "toy_train.lmdb" / "data.mdb", fetched / "toy" / "toy_extra.lmdb")
    (changed,) = verify([make_card(KIND)], fetched)
    assert changed.faults == ("toy_extra.lmdb/data.mdb is not what was unpacked",)


def test_a_tarball_is_read_where_nothing_can_be_kept(tmp_path: Path, make_card: Maker) -> None:
    (tmp_path / "places").mkdir()
    (tmp_path / "file").touch()
    with tarfile.open(tmp_path / "places" / "toy.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("toy/toy_train.json")
        tar.addfile(info)
    with pytest.warns(UserWarning, match="for this command alone"):
        source = locate(make_card("sequence_value"), tmp_path / "places", tmp_path / "file" / "c")
    assert (source.folder / "toy_train.json").is_file()
