"""Rates of the cache: measured on what is really kept, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from tape_bench.errors import StorageError
from tape_bench.speed import cache_rates as module
from tape_bench.speed.cache_rates import cache_rates


@pytest.mark.parametrize("stored", ["float32", "float16", "bfloat16"])
def test_bytes_over_seconds(tmp_path: Path, monkeypatch, stored) -> None:
    width = 4 if stored == "float32" else 2
    monkeypatch.setattr(module, "COPY_BYTES", 100 * 16 * width)
    monkeypatch.setattr(module, "_ROWS_PER_WRITE", 25)
    monkeypatch.setattr(module, "fastest", lambda run: run() or 2.0)
    rates = cache_rates(tmp_path / "new", 16, stored, [10, 20, 3])
    # Thrice 33 residues fit into 100.
    assert rates.read_bytes_per_second == 99 * 16 * width / 2
    assert rates.write_bytes_per_second > 0
    assert list((tmp_path / "new").iterdir()) == []


def test_a_protein_larger_than_what_is_kept(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "COPY_BYTES", 100 * 16 * 4)
    monkeypatch.setattr(module, "fastest", lambda run: run() or 1.0)
    assert cache_rates(tmp_path, 16, "float32", [400]).read_bytes_per_second == 100 * 16 * 4


def test_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write here"):
        cache_rates(tmp_path / "file", 16, "float32", [10])
