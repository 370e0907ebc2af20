"""The story of a run: what is recorded, what is reused, what goes on, what fails alone."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from tape_bench import evaluate, load_model, registry
from tape_bench.embedding.executors.session import Session
from tape_bench.errors import ModelError, TasksFailedError, UsageError
from tape_bench.leftovers import claimed
from tape_bench.models.controls.onehot import one_hot
from tape_bench.models.embedder import Identity
from tape_bench.models.evidence import PROBES
from tape_bench.progress import Progress
from tape_bench.protocols.probe import fit as fitting
from tape_bench.results import store
from tape_bench.results.predictions import read_predictions
from tape_bench.results.record import RunRecord
from tape_bench.run.evaluate import run_tasks
from tape_bench.run.plan import plan
from tape_bench.run.settings import Settings
from tape_bench.scoring.metrics import score


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    return {"data": "sample", "out": tmp_path / "results", "limit": 60, "head": "linear"}


def run_one(settings: dict[str, Any], **changes: Any) -> RunRecord:
    (record,) = evaluate("onehot", "stability", **{**settings, **changes})
    return record


def path_of(settings: dict[str, Any], record: RunRecord) -> Path:
    return store.path_of(settings["out"], record)


def test_a_record_says_all_it_should(settings: dict[str, Any]):
    record = run_one(settings, seeds=(0, 1), head="tape")
    written = json.loads(path_of(settings, record).read_text())
    jsonschema.validate(written, RunRecord.model_json_schema())
    assert record.status == "complete"
    assert record.digest == store.digest(record)
    assert record.limit == 60
    assert record.task.data.status == "simulated"
    assert {name: split.n_scored for name, split in record.task.data.splits.items()} == {
        "train": 60,
        "valid": 60,
        "test": 60,
    }
    assert record.protocol.seeds == [0, 1]
    assert record.protocol.seed_matters
    assert set(record.protocol.selected) == {"stability_score/0", "stability_score/1"}
    assert record.provenance.packages["torch"]
    assert record.resources is not None
    assert record.resources.residues > 0
    headline = record.headline
    assert headline is not None
    assert headline.value == pytest.approx(np.mean(headline.per_seed))
    assert headline.interval is not None
    assert headline.interval.low <= headline.value <= headline.interval.high


def test_any_figure_can_be_computed_again_from_the_kept_predictions(settings: dict[str, Any]):
    record = run_one(settings)
    assert record.predictions is not None
    kept = path_of(settings, record).parent / record.predictions.file
    assert store.file_digest(kept) == record.predictions.digest
    predictions = read_predictions(kept, "sequence_value")["stability_score", "test"][0]
    for metric in record.metrics:
        if metric.split == "test":
            definition = metric.id.split(".", 1)[1]
            assert score(definition, predictions).value == metric.value


def test_a_complete_record_is_not_computed_again(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    first = run_one(settings)
    monkeypatch.setattr(fitting, "fit", lambda *_: pytest.fail("computed again"))
    assert run_one(settings) == first


def test_rerun_computes_again_and_gives_the_same_figures(settings: dict[str, Any]):
    first = run_one(settings)
    again = run_one(settings, rerun=True)
    assert again.provenance.started >= first.provenance.started
    assert again.metrics == first.metrics


def test_a_solved_head_is_solved_once_whatever_the_seeds(settings: dict[str, Any]):
    record = run_one(settings)
    assert record.protocol.seeds == [0]
    assert not record.protocol.seed_matters
    with pytest.warns(UserWarning, match="solved once"):
        several = run_one(settings, seeds=(3, 4, 5), rerun=True)
    assert several.run_key == record.run_key
    assert several.metrics == record.metrics
    assert all(len(metric.per_seed) == 1 for metric in several.metrics)


def test_a_head_that_is_trained_gets_three_seeds_unless_told_otherwise(settings: dict[str, Any]):
    identity = load_model("onehot").identity
    trained = settings | {"head": "tape"}
    assert plan("stability", identity, Settings.of(trained)).seeds == (0, 1, 2)
    assert plan("stability", identity, Settings.of(trained | {"seeds": (5,)})).seeds == (5,)


@pytest.mark.parametrize(
    "change",
    [{"head": "tape", "seeds": (1,)}, {"limit": 61}, {"head": "tape"}, {"longest": 400}],
)
def test_what_can_change_a_figure_changes_the_key(settings: dict[str, Any], change: dict[str, Any]):
    identity = load_model("onehot").identity
    first = plan("stability", identity, Settings.of(settings))
    other = plan("stability", identity, Settings.of(settings | change))
    assert first.run_key != other.run_key
    assert first.path != other.path


def test_who_belongs_together_changes_the_key(settings: dict[str, Any]):
    identity, card = load_model("onehot").identity, registry.task("stability")
    assert card.cluster is not None
    mutants_apart = card.cluster.model_copy(update={"field": "id", "rule": None})
    keys = {
        plan(card.model_copy(update={"cluster": one}), identity, Settings.of(settings)).run_key
        for one in (card.cluster, mutants_apart, None)
    }
    assert len(keys) == 3


def test_where_the_results_go_does_not_change_the_key(settings: dict[str, Any], tmp_path: Path):
    identity = load_model("onehot").identity
    first = plan("stability", identity, Settings.of(settings))
    other = plan("stability", identity, Settings.of(settings | {"out": tmp_path / "else"}))
    assert first.run_key == other.run_key


def test_another_order_of_tasks_gives_the_same_figures(settings: dict[str, Any], tmp_path: Path):
    names = ["stability", "fluorescence"]
    forth = evaluate("onehot", names, **settings)
    back = evaluate("onehot", names[::-1], **settings | {"out": tmp_path / "other"})
    assert [r.metrics for r in forth] == [r.metrics for r in back[::-1]]


def test_an_interrupted_run_goes_on(settings: dict[str, Any], tmp_path: Path):
    settings["head"] = "tape"
    undisturbed = run_one(settings | {"out": tmp_path / "calm"}, seeds=(0, 1, 2))

    class Interrupting(Progress):
        def advance(self, phase: str, done: int, total: int, unit: str, note: str = "") -> None:
            if "seed 2" in phase:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_one(settings, seeds=(0, 1, 2), progress=Interrupting())
    (path,) = store.find(settings["out"])
    assert store.read(path).status == "started"
    kept = sorted(p.name for p in store.work_path(path).iterdir())
    assert kept == [f"stability_score-{n}.{kind}" for n in (0, 1) for kind in ("json", "npz")]

    trained = []

    class Listening(Progress):
        def advance(self, phase: str, done: int, total: int, unit: str, note: str = "") -> None:
            trained.append(phase)

    resumed = run_one(settings, seeds=(0, 1, 2), progress=Listening())
    assert not any("seed 0" in phase or "seed 1" in phase for phase in trained)
    assert resumed.metrics == undisturbed.metrics
    assert not store.work_path(path).exists()


class Broken:
    """A model that fails on one task: it cannot read proteins as long as GFP."""

    identity = Identity(
        spec="broken",
        name="broken",
        revision="1",
        weights_digest=None,
        parameters=0,
        hidden_size=2,
        longest_input=None,
        pretraining=None,
    )

    def embed(self, sequences, pool="residues"):
        if any(len(sequence) > 60 for sequence in sequences):
            raise ModelError("too long for me")
        generator = np.random.default_rng(0)
        return [generator.standard_normal(2).astype(np.float32) for _ in sequences]


def test_a_task_that_fails_does_not_lose_the_others(settings: dict[str, Any]):
    with pytest.raises(TasksFailedError, match="fluorescence failed: too long for me"):
        evaluate(Broken(), ["fluorescence", "stability"], **settings)
    records = {r.task.id: r for r in map(store.read, store.find(settings["out"]))}
    assert records["stability"].status == "complete"
    assert records["fluorescence"].status == "failed"
    assert "too long for me" in (records["fluorescence"].error or "")


def test_a_failed_record_is_tried_again(settings: dict[str, Any]):
    for _ in range(2):
        outcomes = list(run_tasks(Session.of(Broken()), ["fluorescence"], Settings.of(settings)))
        assert isinstance(outcomes[0].error, ModelError)


def test_targets_that_train_lacks_are_undefined_with_the_reason(
    settings: dict[str, Any], tmp_path: Path
):
    folder = tmp_path / "data" / "secondary_structure"
    folder.mkdir(parents=True)
    for split in ("train", "valid", "cb513"):
        records = [
            {"id": str(i), "primary": "ACDEFG" * 5, "ss3": [0, 1, 2, 0, 1, 2] * 5} for i in range(4)
        ]
        (folder / f"secondary_structure_{split}.json").write_text(json.dumps(records))
    (record,) = evaluate(
        "onehot", "secondary_structure", **settings | {"data": folder.parent}, splits=("cb513",)
    )
    q8 = record.metric("ss8.accuracy.pooled", "cb513")
    assert q8 is not None
    assert (q8.value, q8.undefined) == (None, "the train records carry no ss8")


def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]):
    for wrong, says in [
        ({"seeds": ()}, "at least one"),
        ({"seeds": (1, 1)}, "distinct"),
        ({"limit": 0}, "at least 1"),
        ({"hed": "linear"}, "did you mean head"),
        ({"seeds": 0}, "seeds is given as 0"),
        ({"seeds": "0,1"}, "seeds is given as '0,1'"),
        ({"seeds": (2**32,)}, "between 0 and 4294967295"),
        ({"seeds": (-1,)}, "between 0 and 4294967295"),
        ({"limit": "3"}, "limit is given as '3'"),
        ({"limit": True}, "limit is given as True"),
        ({"length_policy": "cut"}, "length_policy is given as 'cut'"),
        ({"protocol": "prob"}, "did you mean probe"),
    ]:
        with pytest.raises(UsageError, match=says):
            evaluate("onehot", "stability", **settings | wrong)


def test_settings_may_come_as_lists_ranges_and_arrays(tmp_path: Path):
    asked = Settings.of({"seeds": np.arange(2), "splits": ["test"], "out": str(tmp_path)})
    assert (asked.seeds, asked.splits, asked.out) == ((0, 1), ("test",), tmp_path)
    assert Settings.of({"seeds": range(3)}).seeds == (0, 1, 2)


def test_trials_are_kept_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TAPE_BENCH_OUT")
    for given in ({"data": "sample"}, {"data": Path("sample")}, {"limit": 5}):
        assert Settings.of(given).out == Path("trials")
    assert Settings.of({}).out == Path("results")
    monkeypatch.setenv("TAPE_BENCH_OUT", "/kept/here")
    assert Settings.of({"limit": 5}).out == Path("/kept/here")


def test_an_unknown_task_is_found_before_anything_runs(settings: dict[str, Any]):
    with pytest.raises(UsageError, match="did you mean stability"):
        evaluate("onehot", ["fluorescence", "stabilty"], **settings)
    assert not settings["out"].exists()


def test_a_task_may_be_a_card_and_counts_once(settings: dict[str, Any]):
    card = registry.task("stability")
    assert len(evaluate("onehot", card, **settings)) == 1
    assert len(evaluate("onehot", [card, "stability"], **settings)) == 1


def test_an_error_that_tasks_share_is_told_once(settings: dict[str, Any], tmp_path: Path):
    (tmp_path / "data" / "stability").mkdir(parents=True)
    with pytest.raises(TasksFailedError) as caught:
        evaluate("onehot", **settings | {"data": tmp_path / "data"})
    assert str(caught.value).count("no data for the tasks") == 1


def test_a_loaded_model_takes_no_options(settings: dict[str, Any]):
    with pytest.raises(UsageError, match="loaded already"):
        evaluate(load_model("onehot"), "stability", model_options={"device": "cpu"}, **settings)


def test_a_control_is_not_run_where_it_makes_no_sense(settings: dict[str, Any]):
    settings.pop("head")
    records = evaluate("positional", **settings)
    assert [record.task.id for record in records] == ["fluorescence", "stability"]
    with pytest.raises(TasksFailedError, match="positional cannot serve contact"):
        evaluate("positional", "contact", **settings)


def test_nothing_is_computed_when_results_cannot_be_kept(settings: dict[str, Any], tmp_path: Path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(Exception, match="cannot write here"):
        evaluate("onehot", "stability", **settings | {"out": blocked / "results"})


class Mine:
    """A model of a user's own, handed over as an object."""

    identity = Identity(
        spec="mine", name="mine", revision="1", weights_digest="a" * 64, parameters=1,
        hidden_size=25, longest_input=None, pretraining=None,
    )  # fmt: skip

    def __init__(self, weight: float) -> None:
        self.weight = np.full(25, weight, np.float32)
        self.asked: list[str] = []

    def embed(self, sequences: Any, pool: str = "residues") -> list[Any]:
        for sequence in sequences:
            if sequence not in PROBES:
                self.asked.append(sequence)
        whole = [one_hot(sequence) + self.weight for sequence in sequences]
        return whole if pool == "residues" else [rows.mean(axis=0) for rows in whole]


def test_a_changed_model_is_computed_again_and_an_unchanged_one_is_not(settings: dict[str, Any]):
    def score(weight: float, **changes: Any) -> tuple[RunRecord, int]:
        model = Mine(weight)
        (record,) = evaluate(model, "stability", **settings | changes)
        return record, len(model.asked)

    first, asked = score(1.0)
    assert asked > 0
    assert first.model.rests_on is not None
    assert score(1.0) == (first, 0)
    again, asked = score(1.0, rerun=True)
    assert (again.metrics, asked > 0) == (first.metrics, True), "vectors, too, are computed again"
    other, asked = score(2.0)
    assert asked > 0
    assert other.run_key != first.run_key
    shutil.rmtree(settings["out"])
    assert score(1.0)[1] == 0, "its vectors are still kept"


def test_a_model_that_only_answers_otherwise_is_computed_again(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    class FromOutside(Mine):
        def embed(self, sequences: Any, pool: str = "residues") -> list[Any]:
            factor = np.float32(os.environ["FACTOR"])
            return [factor * vectors for vectors in super().embed(sequences, pool)]

    records = []
    for factor in ("1.0", "1.5", "1.0"):
        monkeypatch.setenv("FACTOR", factor)
        model = FromOutside(1.0)
        records += evaluate(model, "stability", **settings)
        # Where the answers are those of before, so are the vectors.
        assert bool(model.asked) == (len(records) < 3)
    assert len({record.run_key for record in records}) == 1
    assert records[0].model.rests_on != records[1].model.rests_on
    assert records[0].model.rests_on == records[2].model.rests_on


@pytest.mark.parametrize("fault", ["edited", "emptied", "cut", "another run", "no predictions"])
def test_a_record_that_is_not_what_was_written_is_made_again(settings: dict[str, Any], fault: str):
    first = run_one(settings)
    path = path_of(settings, first)
    text = path.read_text()
    told = json.loads(text)
    if fault == "edited":
        told["metrics"][0]["value"] = 0.99
        path.write_text(json.dumps(told))
    elif fault == "another run":
        store.write(path, first.model_copy(update={"run_key": "0" * 64}))
    elif fault == "no predictions":
        store.predictions_path(path).unlink()
    else:
        path.write_text("" if fault == "emptied" else text[: len(text) // 2])
    seen = fault in ("edited", "emptied", "cut")
    with pytest.warns(UserWarning, match="is made again") if seen else nullcontext():
        again = run_one(settings)
    assert again.metrics == first.metrics
    assert store.read(path) == again
    assert again.provenance.started >= first.provenance.started


def test_a_record_of_a_newer_release_is_not_written_over(settings: dict[str, Any]):
    path = path_of(settings, run_one(settings))
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"schema_version": 99}))
    before = path.read_text()
    with pytest.raises(TasksFailedError, match="install a newer tape-bench"):
        run_one(settings)
    assert path.read_text() == before


def interrupted(settings: dict[str, Any]) -> Path:
    """Begin a run of three seeds, stop it at the third, and return its work folder."""

    class Interrupting(Progress):
        def advance(self, phase: str, done: int, total: int, unit: str, note: str = "") -> None:
            if "seed 2" in phase:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_one(settings, seeds=(1, 0, 2), progress=Interrupting())
    (path,) = store.find(settings["out"])
    return store.work_path(path)


@pytest.mark.parametrize(
    "fault", ["none", "any JSON", "another's", "flipped", "cut", "empty", "other predictions"]
)
def test_what_an_interrupted_run_left_is_believed_only_if_it_is_whole(
    settings: dict[str, Any], tmp_path: Path, fault: str
):
    settings = settings | {"limit": 25, "head": "tape"}
    calm = settings | {"out": tmp_path / "calm"}
    undisturbed = run_one(calm, seeds=(1, 0, 2))
    work = interrupted(settings)
    account = work / "stability_score-0.json"
    predictions = work / "stability_score-0.npz"
    if fault == "any JSON":
        account.write_text('{"epoch": 3}')
    elif fault == "another's":
        account.write_bytes((work / "stability_score-1.json").read_bytes())
        predictions.write_bytes((work / "stability_score-1.npz").read_bytes())
    elif fault == "flipped":
        account.write_text(account.read_text().replace("1", "2", 1))
    elif fault == "cut":
        predictions.write_bytes(predictions.read_bytes()[:-40])
    elif fault == "empty":
        account.write_bytes(b"")
    elif fault == "other predictions":
        predictions.write_bytes((work / "stability_score-1.npz").read_bytes())
    resumed = run_one(settings, seeds=(1, 0, 2))
    assert resumed.metrics == undisturbed.metrics
    assert resumed.protocol.selected == undisturbed.protocol.selected
    # Not a byte tells which heads were taken over.
    mine, theirs = (path_of(of, r) for of, r in ((settings, resumed), (calm, undisturbed)))
    assert store.predictions_path(mine).read_bytes() == store.predictions_path(theirs).read_bytes()


def test_a_cache_that_cannot_be_written_is_done_without(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = run_one(settings)
    (tmp_path / "file").touch()
    monkeypatch.setenv("TAPE_BENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="cannot write here"):
        record = run_one({**settings, "out": tmp_path / "other"})
    assert record.metrics == expected.metrics


def test_a_run_that_another_process_is_at_says_so_and_touches_nothing(settings: dict[str, Any]):
    record = run_one(settings)
    path = path_of(settings, record)
    before = path.read_bytes()
    with claimed(store.work_path(path), path), pytest.raises(TasksFailedError) as caught:
        run_one(settings, rerun=True)
    assert "another process is writing this just now" in str(caught.value)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert run_one(settings, rerun=True).metrics == record.metrics


def test_a_resumed_run_keeps_the_same_predictions(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    whole = run_one(settings, seeds=(0, 1, 2), head="tape")
    resumed = {**settings, "out": settings["out"].with_name("resumed")}
    train, times = fitting.train, []

    def stopped(*given: Any, **more: Any) -> Any:
        times.append(1)
        if len(times) == 2:
            raise KeyboardInterrupt
        return train(*given, **more)

    monkeypatch.setattr(fitting, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_one(resumed, seeds=(0, 1, 2), head="tape")
    record = run_one(resumed, seeds=(0, 1, 2), head="tape")
    assert record.predictions == whole.predictions
    assert not list(resumed["out"].rglob("*.work"))
