"""Records: written whole, read with care, each at the place its content says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from tape_bench.atomic import replace
from tape_bench.errors import RecordError, StorageError
from tape_bench.results import store
from tape_bench.results.record import RunRecord


def test_a_record_comes_back_as_it_was_written(tmp_path: Path, record: RunRecord):
    path = tmp_path / "record.json"
    sealed = store.write(path, record)
    assert store.read(path) == sealed
    assert sealed.digest == store.digest(sealed)
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_an_edit_by_hand_shows(tmp_path: Path, record: RunRecord):
    path = tmp_path / "record.json"
    store.write(path, record)
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.9'))
    edited = store.read(path)
    assert edited.digest != store.digest(edited)


def test_a_written_record_satisfies_the_published_schema(tmp_path: Path, record: RunRecord):
    path = tmp_path / "record.json"
    store.write(path, record)
    jsonschema.validate(json.loads(path.read_text()), RunRecord.model_json_schema())


def test_the_path_is_the_identity(tmp_path: Path, record: RunRecord):
    first = store.path_of(tmp_path, record)
    assert first.relative_to(tmp_path).parts == (
        "onehot",
        "1",
        "stability",
        "official-efefefefefef",
        "probe-abababababab.json",
    )
    for change in (
        {"run_key": "00" * 32},
        {"model": record.model.model_copy(update={"revision": "2"})},
        {"task": record.task.model_copy(update={"id": "fluorescence"})},
    ):
        assert store.path_of(tmp_path, record.model_copy(update=change)) != first


@pytest.mark.parametrize("name", ["../../etc", "/etc/passwd", "a\\b", "..", "", "x" * 500])
def test_a_models_name_cannot_leave_the_results_folder(
    tmp_path: Path, record: RunRecord, name: str
):
    named = record.model_copy(update={"model": record.model.model_copy(update={"name": name})})
    path = store.path_of(tmp_path, named)
    assert tmp_path in path.resolve().parents
    assert len(path.relative_to(tmp_path).parts) == 5
    store.write(path, named)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"schema_version": 1, "run_key"', "cut short"),
        (b'{"schema_version": 99}', "schema version 99"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[]", "not a run record"),
        (b'{"schema_version": 1}', "not a run record"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes, says: str):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=says) as caught:
        store.read(path)
    assert "record.json" in str(caught.value)


def test_a_missing_record_is_an_error(tmp_path: Path):
    with pytest.raises(RecordError, match="cannot read"):
        store.read(tmp_path / "none.json")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")

    def fill(temporary: Path) -> None:
        temporary.write_text("half of the n")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="disk is full"):
        replace(path, fill)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_found_out_first(tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(StorageError, match="cannot write"):
        store.check_writable(blocked / "results")


@pytest.mark.parametrize(
    "content",
    [
        '{"n": ' + "1" * 5000 + "}",
        "[" * 200_000,
        '{"schema_version": []}',
        '{"schema_version": {"a": 1}}',
        '{"schema_version": true}',
        "NaN",
        '"\\ud83d"',
    ],
)
def test_json_that_is_no_record_is_an_error_of_ours(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(RecordError):
        store.read(path)


def test_a_score_is_a_finite_number(tmp_path: Path, record: RunRecord) -> None:
    path = tmp_path / "r.json"
    sealed = store.write(path, record)
    content = json.loads(sealed.model_dump_json())
    content["metrics"][0]["value"] = float("nan")
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="finite"):
        store.read(path)


def test_no_text_of_a_record_steers_a_terminal(tmp_path: Path, record: RunRecord) -> None:
    path = tmp_path / "r.json"
    content = json.loads(store.write(path, record).model_dump_json())
    content["model"]["name"] = "\x1b[2Jmine\u202e"
    content["protocol"]["resolved"] = {"head\x1b": ["\x07"]}
    path.write_text(json.dumps(content))
    shown = repr(store.read(path).model_dump())
    assert "\\x1b" in shown
    assert store.read(path).model.name == "\\x1b[2Jmine\\u202e"
    assert not {"\x1b", "\x07"} & set("".join(store.read(path).protocol.resolved))


def test_a_count_that_nothing_has(tmp_path: Path, record: RunRecord) -> None:
    path = tmp_path / "r.json"
    content = json.loads(store.write(path, record).model_dump_json())
    content["metrics"][0]["n"] = 2**63
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="larger than any count"):
        store.read(path)
