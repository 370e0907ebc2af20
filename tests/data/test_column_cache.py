from __future__ import annotations

import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tape_bench.cards import TaskCard
from tape_bench.data.column_cache import cached
from tape_bench.data.columns import Columns, build
from tape_bench.data.digests import digest_of
from tape_bench.data.records import check

Maker = Callable[..., Any]


class _Counted:
    """Lays out records, and counts how often it was asked to."""

    def __init__(self, raw: list[dict[str, Any]], card: TaskCard) -> None:
        self.raw, self.card, self.times = raw, card, 0

    def __call__(self) -> Columns:
        self.times += 1
        return build([check(r, self.card, "here") for r in self.raw], self.card.kind, "here")


@pytest.mark.parametrize(
    "kind", ["token_class", "sequence_class", "sequence_value", "residue_pair"]
)
def test_the_second_time_nothing_is_decoded(
    kind: str, tmp_path: Path, make_card: Maker, toy_records: Maker
) -> None:
    card = make_card(kind)
    make = _Counted(toy_records(kind), card)
    first = cached(tmp_path, "content", card, make)
    second = cached(tmp_path, "content", card, make)
    assert make.times == 1
    assert (second.ids, second.sequences) == (first.ids, first.sequences)
    assert second.digest == first.digest
    assert {n: a.dtype for n, a in second.fields.items()} == {
        n: a.dtype for n, a in first.fields.items()
    }


def test_other_content_or_another_reading_has_a_place_of_its_own(
    tmp_path: Path, make_card: Maker, toy_records: Maker
) -> None:
    card = make_card("sequence_class")
    target = card.targets[0].model_dump()
    wider = make_card("sequence_class", targets=[target | {"classes": 9}])
    renamed = make_card("sequence_class", title="Another title")
    make = _Counted(toy_records("sequence_class"), card)
    cached(tmp_path, "content", card, make)
    cached(tmp_path, "content", renamed, make)
    assert make.times == 1
    cached(tmp_path, "other", card, make)
    assert make.times == 2
    cached(tmp_path, "content", wider, make)
    assert make.times == 3


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped bit", "garbage"])
def test_a_damaged_cache_file_is_made_again(
    tmp_path: Path, make_card: Maker, toy_records: Maker, damage: str
) -> None:
    card = make_card("token_class")
    make = _Counted(toy_records("token_class"), card)
    original = cached(tmp_path, "content", card, make)
    (file,) = (tmp_path / "columns").iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(
        {
            "empty": b"",
            "cut": file.read_bytes()[:-9],
            "flipped bit": bytes(content),
            "garbage": os.urandom(500),
        }[damage]
    )
    again = cached(tmp_path, "content", card, make)
    assert make.times == 2
    assert again.digest == original.digest
    cached(tmp_path, "content", card, make)
    assert make.times == 2


def test_a_cache_that_cannot_be_written_brings_a_warning_and_the_records(
    tmp_path: Path, make_card: Maker, toy_records: Maker
) -> None:
    (tmp_path / "file").touch()  # stands where the folder would have to be made
    card = make_card("sequence_value")
    make = _Counted(toy_records("sequence_value"), card)
    with pytest.warns(UserWarning, match="decoded again next time"):
        columns = cached(tmp_path / "file", "content", card, make)
    assert len(columns) == 4


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_brings_a_warning_and_leaves_nothing(
    tmp_path: Path, make_card: Maker, toy_records: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save_to_full_disk(arrays: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    monkeypatch.setattr("tape_bench.data.column_cache.save_file", save_to_full_disk)
    card = make_card("sequence_value")
    with pytest.warns(UserWarning, match="disk is full"):
        cached(tmp_path, "content", card, _Counted(toy_records("sequence_value"), card))
    assert list((tmp_path / "columns").iterdir()) == []


def _open(cache: Path, card: TaskCard, raw: list[dict[str, Any]]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return cached(cache, "content", card, _Counted(raw, card)).digest


def test_two_processes_may_open_a_set_at_once(
    tmp_path: Path, make_card: Maker, toy_records: Maker
) -> None:
    card, raw = make_card("sequence_value"), toy_records("sequence_value", count=300)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        digests = pool.starmap(_open, [(tmp_path, card, raw)] * 6)
    assert len(set(digests)) == 1
    assert len(list((tmp_path / "columns").iterdir())) == 1


def test_a_file_is_hashed_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache = tmp_path / "file", tmp_path / "cache"
    file.write_bytes(b"content")
    monkeypatch.setattr("tape_bench.data.digests._SETTLED_SECONDS", -1.0)
    first = digest_of(file, cache)
    # From `printf content | md5sum` and `sha256sum`.
    assert first.md5 == "9a0364b9e99bb480dd25e1f0284c8555"
    assert first.sha256 == "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
    monkeypatch.setattr("tape_bench.data.digests.read_digest", lambda file: pytest.fail("read"))
    assert digest_of(file, cache) == first
    monkeypatch.undo()
    time.sleep(0.02)  # so that the time stamps differ
    file.write_bytes(b"CONTENT")
    assert digest_of(file, cache) != first


def test_a_file_just_written_is_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    digest_of(tmp_path / "file", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", ["cut", "another's", "letter for letter", "no text"])
def test_a_damaged_memo_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("tape_bench.data.digests._SETTLED_SECONDS", -1.0)
    (tmp_path / "file").write_bytes(b"content")
    first = digest_of(tmp_path / "file", tmp_path / "cache")
    (memo,) = (tmp_path / "cache" / "digests").iterdir()
    (tmp_path / "other").write_bytes(b"other")
    digest_of(tmp_path / "other", tmp_path / "cache")
    (other,) = {*memo.parent.iterdir()} - {memo}
    memo.write_bytes(
        {
            "cut": memo.read_bytes()[:20],
            "another's": other.read_bytes(),
            "letter for letter": b"0" * 32 + b" " + b"0" * 64,
            "no text": b"\xff\xfe",
        }[kind]
    )
    assert digest_of(tmp_path / "file", tmp_path / "cache") == first
