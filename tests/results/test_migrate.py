from __future__ import annotations

import json

import pytest

from tape_bench.results import migrate, store
from tape_bench.results.record import SCHEMA_VERSION, RunRecord


def test_steps_are_taken_one_version_at_a_time(monkeypatch):
    steps = {
        1: lambda content: content | {"b": content["a"] + 1},
        2: lambda content: {name: value for name, value in content.items() if name != "a"},
    }

    monkeypatch.setattr(migrate, "MIGRATIONS", steps)

    assert migrate.migrate({"schema_version": 1, "a": 1}, 3) == {"schema_version": 3, "b": 2}


def test_there_is_a_way_from_every_older_schema():
    assert sorted(migrate.MIGRATIONS) == list(range(1, SCHEMA_VERSION))


@pytest.fixture
def older(tmp_path, record: RunRecord, monkeypatch):
    """A record of an invented older schema, in which the model's name stood as `label`."""

    def rename(content):
        model = dict(content["model"])
        model["name"] = model.pop("label")
        return content | {"model": model}

    monkeypatch.setattr(migrate, "MIGRATIONS", {0: rename})
    content = record.model_dump(mode="json") | {"schema_version": 0}
    content["model"]["label"] = content["model"].pop("name")
    content["digest"] = migrate.digest(content)
    path = tmp_path / "older.json"
    path.write_text(json.dumps(content))
    return path


def test_an_older_record_is_read_as_one_of_today(older):
    record = store.read(older)

    assert record.model.name == "onehot"
    assert record.schema_version == SCHEMA_VERSION
    assert record.digest == store.digest(record)


def test_an_older_record_edited_by_hand_stays_edited(older):
    older.write_text(older.read_text().replace('"n": 10', '"n": 11'))

    record = store.read(older)

    assert record.digest != store.digest(record)


def test_a_field_added_later_is_no_edit(tmp_path, record: RunRecord):
    content = record.model_dump(mode="json")
    del content["leakage"]
    content["digest"] = migrate.digest(content)
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))

    read = store.read(path)

    assert read.leakage == {}
    assert read.digest == store.digest(read)
