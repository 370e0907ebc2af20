from __future__ import annotations

import pytest

from tape_bench.errors import RecordError, UsageError
from tape_bench.report.gate.reference import update
from tape_bench.results import store
from tape_bench.results.collect import Records, collect_records
from tape_bench.results.record import PredictionsRecord

NOTHING = Records()


def test_new_records_come_with_their_predictions(tmp_path, write_run, measured):
    write_run(tmp_path / "new", measured(0.5), "stability")

    (path,) = update(collect_records([tmp_path / "new"]), NOTHING, tmp_path / "reference")

    (filed,) = collect_records([tmp_path / "reference"]).filed
    assert filed.path == path.resolve()
    assert filed.predictions()["stability_score", "test"][0].ids[0] == "variant0"


def test_replaced_records_go_and_others_stay(tmp_path, write_run, measured, make):
    write_run(tmp_path / "reference", measured(0.5), "stability", run_key="1" * 64)
    other = make(model="other")
    store.write(store.path_of(tmp_path / "reference", other), other)
    write_run(tmp_path / "new", measured(0.4), "stability", run_key="2" * 64)

    update(
        collect_records([tmp_path / "new"]),
        collect_records([tmp_path / "reference"]),
        tmp_path / "reference",
    )

    found = collect_records([tmp_path / "reference"]).records
    assert sorted((r.model.name, r.run_key[0]) for r in found) == [("bert", "2"), ("other", "a")]
    assert len(list((tmp_path / "reference").rglob("*.npz"))) == 1


def test_a_single_file_is_replaced_in_place(tmp_path, write_run, measured):
    place = tmp_path / "reference.json"
    place.write_bytes(write_run(tmp_path / "old", measured(0.5), "stability").read_bytes())
    write_run(tmp_path / "new", measured(0.4), "stability", run_key="2" * 64)

    update(collect_records([tmp_path / "new"]), collect_records([place]), place)

    assert collect_records([place]).records[0].run_key[0] == "2"


@pytest.mark.parametrize("changes", [{"status": "failed"}, {"status": "started"}])
def test_incomplete_records_are_refused_and_nothing_changes(tmp_path, make, changes):
    for model, extra in (("good", {}), ("bad", changes)):
        record = make(model=model, **extra)
        store.write(store.path_of(tmp_path / "new", record), record)

    with pytest.raises(RecordError, match="cannot become a reference"):
        update(collect_records([tmp_path / "new"]), NOTHING, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_two_records_do_not_fit_one_file(tmp_path, make):
    for model in "ab":
        record = make(model=model)
        store.write(store.path_of(tmp_path / "new", record), record)

    with pytest.raises(UsageError, match="2 records"):
        update(collect_records([tmp_path / "new"]), NOTHING, tmp_path / "reference.json")


def test_nothing_new_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="no new records"):
        update(NOTHING, NOTHING, tmp_path)


def test_no_file_from_elsewhere_is_copied(tmp_path, write_run, measured):
    path = write_run(tmp_path / "new", measured(0.5), "stability")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    for file in ("../" * 6 + "secret", str(secret)):
        told = PredictionsRecord(file=file, digest=store.file_digest(secret))
        store.write(path, store.read(path).model_copy(update={"predictions": told}))
        with pytest.raises(RecordError, match="not beside it"):
            update(collect_records([tmp_path / "new"]), NOTHING, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_predictions_that_were_changed_are_no_reference(tmp_path, write_run, measured):
    path = write_run(tmp_path / "new", measured(0.5), "stability")
    kept = store.predictions_path(path)
    kept.write_bytes(kept.read_bytes() + b"x")
    with pytest.raises(RecordError, match="digest"):
        update(collect_records([tmp_path / "new"]), NOTHING, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_a_record_whose_predictions_were_left_behind_is_a_reference(tmp_path, write_run, measured):
    path = write_run(tmp_path / "new", measured(0.5), "stability")
    store.predictions_path(path).unlink()
    assert update(collect_records([tmp_path / "new"]), NOTHING, tmp_path / "reference")
