from __future__ import annotations

import json
import os
import zipfile

import numpy as np
import pytest

from tape_bench.errors import RecordError
from tape_bench.results import collect, store
from tape_bench.results.predictions import read_predictions
from tape_bench.results.record import PredictionsRecord


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


def test_what_lies_in_a_folder_stops_no_report(folder):
    (folder / "digits.json").write_text('{"n": ' + "1" * 5000 + "}")
    (folder / "deep.json").write_text("[" * 200_000)
    (folder / "loop.json").symlink_to("loop.json")
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")

    found = collect.collect_records([folder])

    assert len(found.filed) == 2
    assert len(found.faults) == len(collect.warnings(found)) == 3


def test_predictions_lie_beside_their_record_or_nowhere(tmp_path, write_run, measured):
    path = write_run(tmp_path / "run", measured(0.5), "stability")
    (tmp_path / "secret").write_bytes(b"secret")
    for file in ("../secret", str(tmp_path / "secret"), "", ".."):
        record = store.read(path)
        told = PredictionsRecord(file=file, digest=store.file_digest(tmp_path / "secret"))
        store.write(path, record.model_copy(update={"predictions": told}))
        with pytest.raises(RecordError, match="not beside it"):
            collect.collect_records([path])[0].predictions()


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": np.zeros(3)},
        {"t/test/seed0": np.zeros(3)},
        {"t/test/seedx": np.zeros(3)},
        {"ids": np.array([{}], object)},
        {"ids": np.array(["a", "a"])},
        {"ids": np.zeros(2)},
        {"lengths": np.array([-1, 5])},
        {"values": np.zeros((2, 2))},
        {"values": np.array(["a", "b"])},
        {"targets": np.zeros(3)},
        {"clusters": np.zeros(1, int)},
    ],
    ids=str,
)
def test_an_archive_that_holds_no_predictions(tmp_path, arrays):
    good = {
        "ids": np.array(["a", "b"]),
        "lengths": np.array([5, 6]),
        "seed0": np.zeros(2, np.float32),
        "targets": np.zeros(2, np.float32),
    }
    path = tmp_path / "a.npz"
    named = {("seed0" if name == "values" else name): array for name, array in arrays.items()}
    whole = named if any("/" in name or name == "a" for name in named) else good | named
    np.savez_compressed(
        path, **{n if "/" in n or n == "a" else f"t/test/{n}": a for n, a in whole.items()}
    )
    with pytest.raises(RecordError, match="cannot read the predictions"):
        read_predictions(path, "sequence_value")


def test_an_archive_of_zeros_without_end(tmp_path):
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(256):
            member.write(bytes(1 << 20))
    with pytest.raises(RecordError, match="far more than its size"):
        read_predictions(path, "sequence_value")
