"""The records that come with the project stand where their content says they belong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tape_bench.results import store

RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.mark.parametrize("path", list(store.find(RESULTS)), ids=lambda path: path.stem)
def test_paths_agree_with_content(path: Path):
    record = store.read(path)

    root = path.parents[4]
    assert path == store.path_of(root, record)
    assert record.digest == store.digest(record)
    assert record.status == "complete"
