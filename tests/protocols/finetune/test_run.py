"""`run --protocol finetune` as a user types it: record, models beside it, kills, faults."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tape_bench import evaluate
from tape_bench.cli import program
from tape_bench.errors import TasksFailedError, UsageError
from tape_bench.protocols.finetune.trained import read_about
from tape_bench.report.plots.training import histories
from tape_bench.results import store


def finetuned(model, tasks="stability", **settings):
    settings = {"limit": 30, "epochs": 2, "batch": 8, **settings}
    (record,) = evaluate(model, tasks, data="sample", protocol="finetune", **settings)
    return record


def test_the_record_says_what_moved_how_and_how_it_went(untrained, tmp_path):
    record = finetuned(untrained, out=tmp_path / "out", moves="lora", lora_rank=2)
    resolved = record.protocol.resolved
    assert record.protocol.id == "finetune"
    assert record.protocol.seeds == [0, 1, 2]
    assert resolved["what_moved"] == "low ranks of the encoder, and head"
    assert (resolved["lora_rank"], resolved["epochs"], resolved["optimiser"]) == (2, 2, "adamw")
    for seed in range(3):
        chosen = record.protocol.selected[f"stability_score/{seed}"]
        assert len(chosen["history"]) == 2
        assert chosen["steps"] == 8
        assert chosen["epoch"] in (1, 2)
    path = store.path_of(tmp_path / "out", record)
    folders = sorted(store.models_path(path).iterdir())
    assert [folder.name for folder in folders] == [f"stability_score-{seed}" for seed in range(3)]
    assert {read_about(folder).seed for folder in folders} == {0, 1, 2}
    assert not store.work_path(path).exists()


def test_models_beside_records_are_no_records_and_losses_are_drawn(untrained, tmp_path):
    record = finetuned(untrained, out=tmp_path / "out", seeds=(0,), moves="lora")
    assert len(list((tmp_path / "out").rglob("*.json"))) == 3
    assert list(store.find(tmp_path / "out")) == [store.path_of(tmp_path / "out", record)]
    (found,) = histories(record).items()
    assert found[0] == "stability_score, seed 0"
    history, epoch = found[1]
    chosen = record.protocol.selected["stability_score/0"]
    assert [list(row) for row in history] == chosen["history"]
    assert epoch == chosen["epoch"]
    asked = ["plot", str(tmp_path / "out"), "--kind", "training", "--into", str(tmp_path / "plots")]
    done = CliRunner().invoke(program, asked, catch_exceptions=False)
    assert done.exit_code == 0
    (picture,) = (tmp_path / "plots").rglob("*.png")
    assert picture.name.startswith("training-stability-finetune-")
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_presets_give_their_values_and_options_count_before_them(untrained, tmp_path):
    settings = {"out": tmp_path / "out", "preset": "schmirler-lora", "seeds": (0,)}
    record = finetuned(untrained, **settings)
    resolved = record.protocol.resolved
    assert (resolved["lora_rank"], resolved["lora_alpha"], resolved["dropout"]) == (4, 1.0, 0.2)
    assert (resolved["preset"], resolved["epochs"], resolved["batch"]) == ("schmirler-lora", 2, 8)
    assert "Nature Communications 15:7407" in str(resolved["source"])
    with pytest.raises(TasksFailedError, match=r"preset.*schmirler-lora"):
        finetuned(untrained, out=tmp_path / "out", preset="schmirler-lorra")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"head": "aligned_ridge"}, "no head"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"dropout": 1.0}, "dropout is a share"),
        ({"moves": "lora", "lora_maps": "nothing"}, "none of the maps nothing"),
    ],
)
def test_values_that_make_no_sense_are_told(untrained, tmp_path, wrong, said):
    with pytest.raises((TasksFailedError, UsageError), match=said):
        finetuned(untrained, out=tmp_path / "out", seeds=(0,), **wrong)


def test_a_model_that_cannot_be_trained_is_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match="it is no Trainable, it lacks"):
        finetuned("onehot", out=tmp_path / "out")


def test_weights_are_not_kept_where_nobody_wants_them(untrained, tmp_path):
    record = finetuned(untrained, out=tmp_path / "out", seeds=(0,), save=False)
    assert not store.models_path(store.path_of(tmp_path / "out", record)).exists()


def test_labels_of_test_have_no_part_in_training(untrained, tmp_path):
    """The same data but for the labels of test: the same weights, other scores."""
    random_, weights, scores = random.Random(0), [], []
    sequences = ["".join(random_.choices("ACDEFGHIKLMNPQRSTVWY", k=12)) for _ in range(60)]
    for turn in (1, -1):
        data = tmp_path / f"data{turn}" / "stability"
        data.mkdir(parents=True)
        for place, name in enumerate(("train", "valid", "test")):
            with (data / f"stability_{name}.csv").open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["id", "sequence", "stability_score"])
                for row, sequence in enumerate(sequences[20 * place : 20 * place + 20]):
                    value = sequence.count("A") + row / 100
                    sign = turn if name == "test" else 1
                    rows.writerow([f"{name}{row}", sequence, sign * value])
        out = tmp_path / f"out{turn}"
        settings = {"protocol": "finetune", "epochs": 2, "batch": 8, "seeds": (0,)}
        (record,) = evaluate(untrained, "stability", data=data.parent, out=out, **settings)
        (head,) = out.rglob("head.safetensors")
        weights.append((head.read_bytes(), (head.parent / "encoder.safetensors").read_bytes()))
        scores.append(next(m.value for m in record.metrics if m.primary))
    assert weights[0] == weights[1]
    assert scores[0] == pytest.approx(-scores[1])


def test_the_same_again_is_found_done_and_from_scratch_is_the_same(untrained, tmp_path):
    first = finetuned(untrained, out=tmp_path / "a", seeds=(0,))
    again = finetuned(untrained, out=tmp_path / "a", seeds=(0,))
    other = finetuned(untrained, out=tmp_path / "b", seeds=(0,))
    assert again.digest == first.digest
    assert other.metrics == first.metrics
    assert other.protocol.selected == first.protocol.selected
    assert other.predictions == first.predictions


def command(model: str, out: Path) -> list[str]:
    options = [
        "-P",
        "epochs=30",
        "-P",
        "patience=30",
        "-P",
        "batch=8",
        "--limit",
        "60",
        "--seeds",
        "0,1",
    ]
    place = ["--data", "sample", "--out", str(out), "--quiet"]
    run = [sys.executable, "-m", "tape_bench", "run", model, "-t", "stability"]
    return [*run, "--protocol", "finetune", *options, *place]


KILLS = 4


def _wait_for_another_epoch(out: Path, process: subprocess.Popen) -> None:
    """Wait until it has been written down once more where training stands."""

    def stands() -> set[str]:
        return {path.name for path in out.rglob("*.training.*.safetensors")}

    before = stands()
    while process.poll() is None and not stands() - before:
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_to_the_same_weights_bit_for_bit(untrained, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(untrained, tmp_path / "whole"), check=True, env=environment)
    moments = random.Random(0)
    for _ in range(KILLS):
        process = subprocess.Popen(command(untrained, tmp_path / "killed"), env=environment)
        _wait_for_another_epoch(tmp_path / "killed", process)
        time.sleep(moments.uniform(0, 0.2))
        assert process.poll() is None, "there are sixty epochs, and a kill each time one has ended"
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command(untrained, tmp_path / "killed"), check=True, env=environment)
    found = {}
    for name in ("whole", "killed"):
        (path,) = (tmp_path / name).rglob("finetune-*.json")
        record = store.read(path)
        weights = {
            file.relative_to(path.parent): file.read_bytes()
            for file in sorted(store.models_path(path).rglob("*"))
            if file.is_file()
        }
        found[name] = (record.metrics, record.protocol, record.predictions, weights)
        assert len(weights) == 6
        assert not store.work_path(path).exists()
    assert found["whole"] == found["killed"]
