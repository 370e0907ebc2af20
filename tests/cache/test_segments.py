"""Segments keep vectors faithfully, and what a crash leaves behind is never taken for vectors."""

from __future__ import annotations

import errno
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tape_bench.cache.segments import (
    INDEX,
    Segment,
    SegmentWriter,
    _seals,
    decode,
    encode,
    is_being_written,
)
from tape_bench.errors import StorageError

RNG = np.random.default_rng(0)
KEYS = [bytes([n]) * 16 for n in range(1, 6)]
ROWS = [1, 7, 3, 1, 20]
VECTORS = [RNG.normal(size=(rows, 4)).astype(np.float32) for rows in ROWS]


def written(folder: Path, stored="float32") -> Path:
    with SegmentWriter(folder, stored) as writer:
        writer.append(KEYS[:2], VECTORS[:2])
        writer.append(KEYS[2:], VECTORS[2:])
    (index,) = folder.glob("*.index")
    return index


def contents(index: Path) -> dict[bytes, np.ndarray]:
    segment = Segment(index, 4)
    return {
        record["key"].tobytes(): segment.vectors(
            int(record["offset"]), int(record["rows"]), int(record["kind"])
        )
        for record in segment.records
    }


def test_what_is_kept_is_found_again(tmp_path: Path):
    found = contents(written(tmp_path))
    assert list(found) == KEYS
    for key, vectors in zip(KEYS, VECTORS, strict=True):
        np.testing.assert_array_equal(found[key], vectors)
        assert not found[key].flags.writeable


def test_half_precision_keeps_numpys_float16(tmp_path: Path):
    found = contents(written(tmp_path, "float16"))
    for key, vectors in zip(KEYS, VECTORS, strict=True):
        np.testing.assert_array_equal(found[key], vectors.astype(np.float16).astype(np.float32))


finite = hnp.arrays(np.float32, (3, 4), elements=st.floats(-(2.0**126), 2.0**126, width=32))


@given(finite)
def test_bfloat16_rounds_as_torch_does(vectors: np.ndarray):
    import torch

    stored, content = encode(vectors, "bfloat16")
    ours = decode(np.array(bytearray(content)), stored).reshape(vectors.shape)
    theirs = torch.from_numpy(vectors).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(ours, theirs)


def test_what_float16_cannot_hold_stays_float32():
    vectors = np.array([[1.0, 70_000.0]], np.float32)
    stored, content = encode(vectors, "float16")
    assert stored == "float32"
    np.testing.assert_array_equal(decode(np.array(bytearray(content)), stored), vectors[0])


@pytest.mark.parametrize("cut", range(0, INDEX.itemsize * 5, 7))
def test_an_index_cut_anywhere_leads_to_whole_vectors_only(tmp_path: Path, cut: int):
    index = written(tmp_path)
    index.write_bytes(index.read_bytes()[:cut])
    found = contents(index)
    assert list(found) == KEYS[: cut // INDEX.itemsize]
    for key, vectors in zip(KEYS, VECTORS, strict=False):
        if key in found:
            np.testing.assert_array_equal(found[key], vectors)


def test_records_that_point_past_the_end_are_ignored(tmp_path: Path):
    index = written(tmp_path)
    vectors = index.with_suffix(".vectors")
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[: sum(ROWS[:2]) * 16 + 5])
    assert list(contents(index)) == KEYS[:2]


@given(st.binary(min_size=INDEX.itemsize, max_size=INDEX.itemsize * 3))
def test_bytes_that_are_no_index_are_no_records(tmp_path_factory, noise: bytes):
    folder = tmp_path_factory.mktemp("noise")
    index = written(folder)
    index.write_bytes(noise)
    assert contents(index) == {}


def test_each_changed_byte_is_noticed(tmp_path: Path):
    index = written(tmp_path)
    vectors = index.with_suffix(".vectors")
    content = bytearray(vectors.read_bytes())
    content[16 * (ROWS[0] + ROWS[1]) + 3] ^= 1
    vectors.write_bytes(content)
    assert Segment(index, 4).damaged().tolist() == [False, False, True, False, False]


def test_a_large_segment_gets_a_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tape_bench.cache.segments.SEGMENT_BYTES", 100)
    with SegmentWriter(tmp_path, "float32") as writer:
        for key, vectors in zip(KEYS, VECTORS, strict=True):
            writer.append([key], [vectors])
    indices = list(tmp_path.glob("*.index"))
    assert len(indices) == 2  # 16 + 112 bytes, then 48 + 16 + 320
    merged = {key: value for index in indices for key, value in contents(index).items()}
    assert sorted(merged) == KEYS


def test_nothing_written_makes_no_file(tmp_path: Path):
    with SegmentWriter(tmp_path / "folder", "float32") as writer:
        writer.append([], [])
    assert not (tmp_path / "folder").exists()


def test_a_full_disk_loses_nothing_that_was_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    writer = SegmentWriter(tmp_path, "float32")
    writer.append(KEYS[:1], VECTORS[:1])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tape_bench.cache.segments._to_disk", full)
        with pytest.raises(StorageError, match="the disk is full"):
            writer.append(KEYS[1:2], VECTORS[1:2])
    writer.append(KEYS[2:3], VECTORS[2:3])
    writer.close()
    merged = {k: v for index in tmp_path.glob("*.index") for k, v in contents(index).items()}
    np.testing.assert_array_equal(merged[KEYS[0]], VECTORS[0])
    np.testing.assert_array_equal(merged[KEYS[2]], VECTORS[2])
    if KEYS[1] in merged:
        np.testing.assert_array_equal(merged[KEYS[1]], VECTORS[1])


def test_who_writes_is_seen_from_another_process(tmp_path: Path):
    ask = (
        "import sys; from pathlib import Path; "
        "from tape_bench.cache.segments import is_being_written; "
        "print(is_being_written(Path(sys.argv[1])))"
    )

    def asked() -> str:
        command = [sys.executable, "-c", ask, str(index)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    writer = SegmentWriter(tmp_path, "float32")
    writer.append(KEYS[:1], VECTORS[:1])
    (index,) = tmp_path.glob("*.index")
    assert asked() == "True"
    assert is_being_written(index)
    writer.close()
    assert asked() == "False"


def test_a_disk_that_fills_up_halfway_through_a_batch_is_told_in_words(tmp_path: Path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    vectors = [np.ones((4, 8), np.float32)] * 100
    keys = [number.to_bytes(16, "big") for number in range(100)]
    with SegmentWriter(tmp_path, "float32") as writer:
        writer.append(keys[:10], vectors[:10])
        # As a real disk does: what is buffered fails once more when the file is closed.
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            with pytest.raises(StorageError, match="cannot write here"):
                writer.append(keys[10:], vectors[10:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.append(keys[10:], vectors[10:])
    kept = [len(Segment(index, 8).records) for index in sorted(tmp_path.glob("*.index"))]
    assert sorted(kept) == [10, 90]


def test_words_that_cancel_out_or_change_places_break_the_seal():
    record = np.zeros(1, INDEX)
    record["key"], record["rows"], record["checksum"] = b"\2" * 16, 3, 12345
    record["seal"] = _seals(record)
    words = record.view("<u4")
    for change in (
        lambda w: w[:4].fill(0),  # the four words of the key are equal
        lambda w: w.__setitem__([0, 6], w[[6, 0]]),
        lambda w: w.__setitem__([6, 8], w[[8, 6]]),
        lambda w: w.__setitem__([1, 2], w[[1, 2]] ^ 0x80000000),
    ):
        other = words.copy()
        change(other)
        assert other.view(INDEX)["seal"] != _seals(other.view(INDEX))
