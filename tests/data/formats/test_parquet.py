"""Parquet stores hold what JSON stores hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tape_bench import load_task, registry
from tape_bench.data.formats import detect, parquet
from tape_bench.errors import DataError

arrow = pytest.importorskip("pyarrow")
from pyarrow import parquet as writer  # noqa: E402

TASKS = ["stability", "secondary_structure", "remote_homology", "contact"]


def records(task: str, split: str) -> list[dict]:
    """Return a split of the sample as TAPE's records."""
    card = registry.task(task)
    found = []
    for example in load_task(task, data="sample")[split]:
        record: dict = {"id": example.id, "primary": example.sequence}
        for target in card.targets:
            value = example.targets[target.name]
            record[target.field] = value.tolist() if hasattr(value, "tolist") else value
        if task == "contact":
            (coordinates,) = example.targets.values()
            record["valid_mask"] = [bool(row[0] == row[0]) for row in coordinates]
            record["tertiary"] = [
                [0.0 if x != x else x for x in row] for row in coordinates.tolist()
            ]
        found.append(record)
    return found


@pytest.mark.parametrize("task", TASKS)
def test_a_store_in_parquet_is_the_same_data_set(task: str, tmp_path: Path):
    card = registry.task(task)
    for layout in ("json", "parquet"):
        folder = tmp_path / layout / card.source.folder
        folder.mkdir(parents=True)
        for split in load_task(task, data="sample"):
            rows = records(task, split)[:30]
            path = folder / f"{card.source.folder}_{split}.{layout}"
            if layout == "json":
                path.write_text(json.dumps(rows))
            else:
                writer.write_table(arrow.Table.from_pylist(rows), path)
    plain = load_task(task, data=tmp_path / "json", cache=tmp_path / "c")
    columns = load_task(task, data=tmp_path / "parquet", cache=tmp_path / "c")
    assert {n: s.digest for n, s in plain.items()} == {n: s.digest for n, s in columns.items()}


def test_damaged_files_are_told(tmp_path: Path):
    path = tmp_path / "x.parquet"
    writer.write_table(arrow.Table.from_pylist(records("stability", "test")[:30]), path)
    whole = path.read_bytes()
    card = registry.task("stability")
    assert len(list(detect.read(path, card))) == 30
    for size in range(4, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError):
            list(detect.read(path, card))


def test_what_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x.parquet"
    writer.write_table(arrow.table({"primary": ["A" * 10_000] * 2_000}), path)
    monkeypatch.setattr(parquet, "_ALWAYS", 1000)
    monkeypatch.setattr(parquet, "_MOST_EXPANSION", 1)
    with pytest.raises(DataError, match="far more than its size"):
        list(parquet.read_parquet(path))
