from __future__ import annotations

import json

import pytest

from tape_bench.errors import RecordError
from tape_bench.results import collect, store


@pytest.fixture
def folder(tmp_path, make):
    for model in ("a", "b"):
        record = make(model=model)
        store.write(store.path_of(tmp_path, record), record)
    return tmp_path


def test_folders_and_files_are_read_once_each(folder):
    one = next(store.find(folder))

    found = collect.collect_records([folder, one, folder / "a"])

    assert sorted(record.model.name for record in found.records) == ["a", "b"]
    assert all(filed.intact for filed in found.filed)
    assert found.faults == ()


def test_what_cannot_be_read_is_reported(folder):
    (folder / "cut.json").write_text(next(store.find(folder)).read_text()[:100])
    (folder / "latin.json").write_bytes(b'{"model": "\xe9"}')
    content = json.loads(next(store.find(folder / "a")).read_text())
    (folder / "future.json").write_text(json.dumps(content | {"schema_version": 99}))
    (folder / "list.json").write_text("[]")

    found = collect.collect_records([folder])

    assert len(found.filed) == 2
    said = "\n".join(collect.warnings(found))
    for name, why in {
        "cut.json": "cut short",
        "latin.json": "not UTF-8",
        "future.json": "schema version 99",
        "list.json": "not a run record",
    }.items():
        assert any(name in line and why in line for line in said.splitlines())


def test_an_edit_by_hand_shows(folder):
    path = next(store.find(folder / "a"))
    content = json.loads(path.read_text())
    content["metrics"][0]["value"] = 0.99
    path.write_text(json.dumps(content))

    (filed,) = collect.collect_records([path]).filed

    assert not filed.intact


def test_other_layout_of_the_same_json_is_no_edit(folder):
    path = next(store.find(folder / "a"))
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))

    (filed,) = collect.collect_records([path]).filed

    assert filed.intact


def test_a_place_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="no such file or folder"):
        collect.collect_records([tmp_path / "nowhere"])
