"""The cache keeps a model's representations apart from all others', and within bounds."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tape_bench.cache import eviction
from tape_bench.cache.eviction import clear, holdings, make_room, verify
from tape_bench.cache.segments import INDEX, Segment, _seals
from tape_bench.cache.vectors import Cache, about, entry_key, folder_of
from tape_bench.errors import StorageError
from tape_bench.models.evidence import Evidence

RNG = np.random.default_rng(1)


def fill(cache: Cache, first: int, count: int, rows: int = 10) -> dict[bytes, np.ndarray]:
    kept = {
        n.to_bytes(16, "big"): RNG.normal(size=(rows, 3)).astype(np.float32)
        for n in range(first, first + count)
    }
    with cache.writer() as writer:
        writer.put(list(kept), list(kept.values()))
    return kept


def test_what_one_run_keeps_the_next_one_finds(tmp_path: Path, letters):
    kept = fill(Cache.of(letters, "float32", tmp_path), 0, 20)
    again = Cache.of(letters, "float32", tmp_path)
    for key, vectors in kept.items():
        assert key in again
        np.testing.assert_array_equal(again.get(key), vectors)
    assert again.get(b"?" * 16) is None


def test_what_others_add_is_found_on_refresh(tmp_path: Path, letters):
    mine, theirs = (Cache.of(letters, "float32", tmp_path) for _ in range(2))
    first = fill(theirs, 0, 3)
    assert not any(key in mine for key in first)
    mine.refresh()
    assert all(key in mine for key in first)


def test_a_segment_that_grows_is_read_on(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    with cache.writer() as writer:
        for n in range(4):
            vectors = np.full((1, 3), n, np.float32)
            writer.put([bytes([n]) * 16], [vectors])
            writer._wait_for_all_but(0)
            cache.refresh()
            np.testing.assert_array_equal(cache.get(bytes([n]) * 16), vectors)


def test_two_writers_at_once_lose_nothing(tmp_path: Path, letters):
    caches = [Cache.of(letters, "float32", tmp_path) for _ in range(4)]
    kept: list[dict[bytes, np.ndarray]] = [{} for _ in caches]

    def work(number: int) -> None:
        for batch in range(10):
            kept[number] |= fill(caches[number], number * 1000 + batch * 10, 10, rows=3)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Cache.of(letters, "float32", tmp_path)
    for key, vectors in (item for one in kept for item in one.items()):
        np.testing.assert_array_equal(found.get(key), vectors)


@pytest.mark.parametrize(
    "change",
    [
        {"weights_digest": "2" * 64},
        {"dtype": "bfloat16"},
        {"layer": 3},
        {"reading": {"special_tokens": "cls_sep"}},
        {"hidden_size": 4},
    ],
)
def test_whatever_changes_a_value_changes_the_folder(tmp_path: Path, letters, change):
    class Other(type(letters)):
        @property
        def identity(self):
            return replace(letters.identity, **change)

    Other.__module__, Other.__qualname__ = type(letters).__module__, type(letters).__qualname__
    ours = Cache.of(letters, "float32", tmp_path)
    assert Cache.of(Other(), "float32", tmp_path).folder != ours.folder


def test_where_a_checkpoint_lies_changes_nothing(tmp_path: Path, letters):
    moved = type(letters)()
    assert about(moved, "float32") == about(letters, "float32")
    assert "spec" not in about(letters, "float32")
    assert "name" not in about(letters, "float32")


def test_precision_kept_in_and_another_class_change_the_folder(tmp_path: Path, letters):
    class Other(type(letters)):
        pass

    folders = {
        Cache.of(model, stored, tmp_path).folder
        for model in (letters, Other())
        for stored in ("float32", "float16", "bfloat16")
    }
    assert len(folders) == 6


def test_pooling_and_windows_change_the_entry():
    keys = {
        entry_key(sequence, pool, window)
        for sequence in ("MKV", "MKVL")
        for pool in ("residues", "mean", "first")
        for window in (None, 2, 20)
    }
    assert len(keys) == 18
    assert {len(key) for key in keys} == {16}


def test_an_error_of_the_disk_reaches_the_run(tmp_path: Path, letters, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    cache = Cache.of(letters, "float32", tmp_path)
    monkeypatch.setattr("tape_bench.cache.segments._to_disk", full)
    with pytest.raises(StorageError, match="the disk is full"):
        fill(cache, 0, 1)


def test_status_counts_entries_and_bytes(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    fill(cache, 0, 7, rows=10)
    (held,) = holdings(tmp_path)
    assert (held.name, held.entries, held.stored) == ("letters", 7, "float32")
    assert held.size == sum(path.stat().st_size for path in cache.folder.iterdir())
    assert held.size > 7 * 10 * 3 * 4


def test_an_empty_cache_holds_nothing(tmp_path: Path):
    assert holdings(tmp_path / "none") == []
    assert verify(tmp_path / "none").entries == 0
    assert clear(tmp_path / "none") == []


def test_room_is_made_by_what_is_longest_unused(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    generations = [fill(cache, n * 100, 50) for n in range(4)]
    cache.refresh()
    for age, kept in enumerate(generations):
        for index in cache.use(kept):
            os.utime(index, (1000 + age, 1000 + age))
    size = holdings(tmp_path)[0].size
    used = cache.use(generations[0])
    assert len(used) == 1
    # Used just now: the second generation is the oldest one left.
    os.utime(next(iter(used)), (2000, 2000))
    room = make_room(tmp_path, needed=size // 5, limit=size, spare=used)
    assert room >= size // 5
    left = Cache.of(letters, "float32", tmp_path)
    assert [all(key in left for key in kept) for kept in generations] == [True, False, True, True]
    # Whoever had the segment open still reads it.
    for key, vectors in generations[1].items():
        np.testing.assert_array_equal(cache.get(key), vectors)


def test_room_stays_short_where_everything_is_in_use(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    kept = fill(cache, 0, 50)
    cache.refresh()
    size = holdings(tmp_path)[0].size
    assert make_room(tmp_path, needed=10_000, limit=size + 100, spare=cache.use(kept)) == 100
    assert make_room(tmp_path, needed=10_000, limit=0, spare=cache.use(kept)) == 0


def test_a_segment_that_is_being_written_stays(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    with cache.writer() as writer:
        writer.put([b"1" * 16], [np.zeros((5, 3), np.float32)])
        writer._wait_for_all_but(0)
        make_room(tmp_path, needed=10**6, limit=10, spare=())
        cache.refresh()
        assert b"1" * 16 in cache


def test_the_disk_is_never_filled(tmp_path: Path, letters, monkeypatch):
    # As it was a moment ago: others write and remove files meanwhile.
    usage = eviction.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(eviction.shutil, "disk_usage", lambda place: usage)
    monkeypatch.setattr(eviction, "SPARE_BYTES", usage.free + 1)
    assert make_room(tmp_path, needed=10, limit=10**9, spare=()) == 0


def test_clear_removes_the_named_model_only(tmp_path: Path, letters):
    class Other(type(letters)):
        @property
        def identity(self):
            return replace(letters.identity, name="other")

    for model in (letters, Other()):
        fill(Cache.of(model, "float32", tmp_path), 0, 2)
    (removed,) = clear(tmp_path, "other")
    assert removed.name == "other"
    assert [held.name for held in holdings(tmp_path)] == ["letters"]
    clear(tmp_path)
    assert holdings(tmp_path) == []


def test_verify_removes_damaged_entries_and_nothing_else(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    kept = fill(cache, 0, 5)
    (vectors,) = cache.folder.glob("*.vectors")
    content = bytearray(vectors.read_bytes())
    content[2 * 120 + 7] ^= 0x40
    vectors.write_bytes(content)
    found = verify(tmp_path)
    assert (found.entries, found.damaged) == (5, 1)
    left = Cache.of(letters, "float32", tmp_path)
    assert [key in left for key in kept] == [True, True, False, True, True]
    assert verify(tmp_path).damaged == 0


def test_verify_sweeps_up_after_killed_runs(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    fill(cache, 0, 5)
    lone = cache.folder / "0.vectors"
    lone.write_bytes(b"vectors without an index")
    blind = cache.folder / "1.index"
    blind.write_bytes(b"")
    (index,) = set(cache.folder.glob("*.index")) - {blind}
    index.write_bytes(index.read_bytes() + b"half a record")
    found = verify(tmp_path)
    assert set(found.removed) == {lone, blind}
    assert (found.entries, found.damaged) == (6, 1)
    assert len(list(cache.folder.glob("*.vectors"))) == 1


def test_a_folder_that_says_nothing_is_swept_up(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    fill(cache, 0, 5)
    (folder_of(tmp_path) / cache.folder.name / "model.json").write_text("[1, 2")
    assert holdings(tmp_path)[0].name == "?"
    assert len(verify(tmp_path).removed) == 1
    assert [path.name for path in cache.folder.iterdir()] == ["model.json"]


def flip(cache: Cache, byte: int) -> None:
    (vectors,) = cache.folder.glob("*.vectors")
    content = bytearray(vectors.read_bytes())
    content[byte] ^= 0x40
    vectors.write_bytes(content)


def test_a_flipped_bit_is_seen_when_the_vectors_are_first_used(tmp_path: Path, letters):
    kept = fill(Cache.of(letters, "float32", tmp_path), 0, 5)
    flip(Cache.of(letters, "float32", tmp_path), 2 * 120 + 7)
    found = Cache.of(letters, "float32", tmp_path)
    with pytest.warns(UserWarning, match="1 kept representation is not what was written") as told:
        got = [found.get(key) for key in (*kept, *kept)]
    assert len(told) == 1
    for number, (vectors, written) in enumerate(zip(got[:5], kept.values(), strict=True)):
        if number == 2:
            assert vectors is None
        else:
            np.testing.assert_array_equal(vectors, written)
    # It has gone from the index, so that what is computed in its place is found the next time.
    again = Cache.of(letters, "float32", tmp_path)
    assert [key in again for key in kept] == [True, True, False, True, True]


def test_vectors_are_read_against_their_checksums_once(tmp_path: Path, letters, monkeypatch):
    kept = fill(Cache.of(letters, "float32", tmp_path), 0, 5)
    cache = Cache.of(letters, "float32", tmp_path)
    read = []
    real = Segment.checksum
    monkeypatch.setattr(Segment, "checksum", lambda *a: read.append(a[1]) or real(*a))
    cache.check(list(kept)[:3])
    for _ in range(3):
        for key in kept:
            cache.get(key)
    cache.check(kept)
    assert sorted(read) == [120 * n for n in range(5)]


def test_beginning_anew_forgets_what_is_kept(tmp_path: Path, letters):
    kept = fill(Cache.of(letters, "float32", tmp_path), 0, 5)
    cache, other = (Cache.of(letters, "float32", tmp_path) for _ in range(2))
    cache.forget()
    assert not any(key in cache for key in kept)
    assert all(other.get(key) is not None for key in kept), "whoever has it open still reads it"
    new = fill(cache, 0, 2)
    for found in (cache, Cache.of(letters, "float32", tmp_path)):
        found.refresh()
        assert len(found._places) == 2
        for key, vectors in new.items():
            np.testing.assert_array_equal(found.get(key), vectors)


def test_other_answers_have_a_folder_of_their_own(tmp_path: Path, letters):
    def evidence(*answers: float | None) -> Evidence:
        return Evidence("code", {}, answers)

    first = Cache.of(letters, "float32", tmp_path, evidence(2.0, 1.0, -1.0, 0.5))
    near = evidence(2.0, 1.0 + 1e-6, -1.0, 0.5)
    assert Cache.of(letters, "float32", tmp_path, near).folder == first.folder
    far = evidence(2.0, 1.001, -1.0, 0.5)
    second = Cache.of(letters, "float32", tmp_path, far)
    assert second.folder != first.folder
    assert Cache.of(letters, "float32", tmp_path, far).folder == second.folder
    assert Cache.of(letters, "float32", tmp_path, near).folder == first.folder
    other_code = Evidence("other", {}, near.probes)
    assert Cache.of(letters, "float32", tmp_path, other_code).folder not in (
        first.folder,
        second.folder,
    )
    # A folder that does not say whose vectors it holds is nobody's.
    (first.folder / "model.json").write_text("{")
    assert Cache.of(letters, "float32", tmp_path, near).folder not in (first.folder, second.folder)


def test_clearing_verifying_and_writing_at_once_end_in_no_fault(tmp_path: Path, letters):
    ended, faults = threading.Event(), []

    def again_and_again(do) -> None:
        while not ended.is_set():
            try:
                do()
            except Exception as fault:  # whatever it is, it is one too many
                faults.append(fault)
                return

    def write() -> None:
        cache = Cache.of(letters, "float32", tmp_path)
        kept = fill(cache, int(RNG.integers(1000)), 3)
        cache.refresh()
        cache.check(kept)
        make_room(tmp_path, 10**6, 1000, set())

    jobs = [
        write,
        write,
        lambda: (clear(tmp_path), time.sleep(0.05)),
        lambda: holdings(tmp_path),
        lambda: verify(tmp_path),
    ]
    threads = [threading.Thread(target=again_and_again, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    ended.wait(2)
    ended.set()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_cache_that_cannot_be_written_says_so_at_once(tmp_path: Path, letters):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write here"):
        Cache.of(letters, "float32", tmp_path / "file" / "cache")


def test_a_place_beyond_what_can_be_counted_is_no_place(tmp_path: Path, letters):
    cache = Cache.of(letters, "float32", tmp_path)
    fill(cache, 0, 3)
    (index,) = cache.folder.glob("*.index")
    records = np.frombuffer(bytearray(index.read_bytes()), INDEX)
    records["offset"] = 2**64 - 4
    records["seal"] = _seals(records)
    index.write_bytes(records.tobytes())
    again = Cache.of(letters, "float32", tmp_path)
    assert len(Segment(index, 3).records) == 0
    assert again.get((0).to_bytes(16, "big")) is None
