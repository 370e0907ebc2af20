"""`tape-bench run`: what it prints, what it keeps, and what Ctrl-C leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tape_bench.cli import program
from tape_bench.errors import DataError, UsageError
from tape_bench.results import store

QUICK = ["-t", "stability", "--data", "sample", "--limit", "50", "--head", "linear"]


def make_data(tmp_path: Path, task: str) -> Path:
    """A data root with one task of a few short proteins."""
    folder = tmp_path / "data" / task
    folder.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        rows = "\n".join(f"{i},MKTAYIAKQR{'ACDEF'[i % 5]},{i / 7}" for i in range(60))
        (folder / f"{task}_{split}.csv").write_text(f"id,sequence,{task}_score\n{rows}\n")
    return folder.parent


@pytest.fixture
def run(tmp_path: Path):
    def run(*arguments: str, **environment: str) -> Result:
        return CliRunner(env=environment).invoke(
            program, ["run", *arguments, "--out", str(tmp_path)], catch_exceptions=False
        )

    return run


def test_it_ends_with_a_leaderboard_and_the_records_paths(run, tmp_path: Path):
    result = run("onehot", *QUICK)
    assert result.exit_code == 0
    assert "onehot" in result.output
    assert "SIMULATED" in result.output
    (path,) = store.find(tmp_path)
    assert str(path) in result.output


def test_simulated_data_are_never_set_beside_published_figures(run):
    assert "ProteinLM" not in run("onehot", *QUICK).output


def test_quiet_prints_nothing(run):
    result = run("onehot", *QUICK, "--quiet")
    assert result.output == ""


def test_json_is_the_records(run, tmp_path: Path):
    result = run("onehot", *QUICK, "--json", "--quiet")
    (path,) = store.find(tmp_path)
    assert json.loads(result.stdout) == [json.loads(path.read_text())]


def test_a_dry_run_tells_the_plan_and_does_nothing(run, tmp_path: Path):
    result = run("onehot", *QUICK, "--dry-run")
    for said in ("stability", "simulated", "probe", "run key", "head=linear", "train 50"):
        assert said in result.output
    assert not list(tmp_path.iterdir())


def test_options_can_come_from_the_environment(run):
    environment = {
        "TAPE_BENCH_RUN_TASK": "stability",
        "TAPE_BENCH_DATA": "sample",
        "TAPE_BENCH_RUN_SEEDS": "3",
        "TAPE_BENCH_RUN_HEAD": "tape",
        "TAPE_BENCH_RUN_LIMIT": "50",
    }
    output = run("onehot", "--dry-run", "--json", **environment).output
    (planned,) = json.loads(output)
    assert (planned["task"]["id"], planned["limit"]) == ("stability", 50)
    assert planned["protocol"]["seeds"] == [3]


def test_a_task_that_fails_is_told_at_the_end(tmp_path: Path):
    data = make_data(tmp_path, "stability")
    done = subprocess.run(
        [sys.executable, "-m", "tape_bench.cli", "run", "onehot", "-t", "stability", "-t",
         "fluorescence", "--data", str(data), "--out", str(tmp_path / "out")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: fluorescence: no data for the task fluorescence" in done.stderr
    (path,) = store.find(tmp_path / "out")
    assert store.read(path).status == "complete"


def test_data_that_several_tasks_lack_are_told_of_once(tmp_path: Path):
    data = make_data(tmp_path, "stability")
    result = CliRunner().invoke(
        program, ["run", "onehot", "--data", str(data), "--out", str(tmp_path / "out"), "--quiet"]
    )
    assert result.exit_code == 2
    assert result.stderr.count("error:") == 1
    assert "no data for the tasks secondary_structure, contact, remote_homology, fluoresc" in (
        result.stderr
    )
    assert "proteinnet/" in result.stderr
    assert [store.read(path).task.id for path in store.find(tmp_path / "out")] == ["stability"]


def test_a_place_without_any_data_is_told_of_once(tmp_path: Path):
    with pytest.raises(DataError, match="no data for the tasks secondary_structure, contact"):
        CliRunner().invoke(
            program, ["run", "onehot", "--data", str(tmp_path), "--out", str(tmp_path / "out")],
            catch_exceptions=False,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [["-t", "stability,contact_prediction"],
                                   ["-t", "stability , proteinnet", "-t", "contact"]])  # fmt: skip
def test_tasks_between_commas_and_by_their_names_in_tape(run, given: list[str]):
    result = run("onehot", *given, "--data", "sample", "--dry-run", "--json")
    assert [plan["task"]["id"] for plan in json.loads(result.output)] == ["stability", "contact"]


def test_tasks_between_commas_from_the_environment(run):
    command = program.get_command(click.Context(program), "run")
    assert command is not None
    variable = str(next(option.envvar for option in command.params if option.name == "tasks"))
    environment = {variable: "stability,fluorescence", "TAPE_BENCH_DATA": "sample"}
    planned = json.loads(run("onehot", "--dry-run", "--json", **environment).output)
    assert [plan["task"]["id"] for plan in planned] == ["stability", "fluorescence"]


def test_splits_between_commas(run):
    result = run("onehot", "-t", "secondary_structure", "--split", "casp12,ts115",
                 "--data", "sample", "--dry-run")  # fmt: skip
    assert "scored    ts115, casp12;" in result.output


def test_an_unknown_task_is_found_before_the_model_is_loaded(run):
    with pytest.raises(UsageError, match="did you mean stability"):
        run("proteinlm:/nowhere", "-t", "contact,stabilty", "--data", "sample")


@pytest.mark.parametrize(
    ("asked", "place"), [([], "results"), (["--limit", "40"], "trials"), (None, "trials")]
)
def test_trials_have_a_place_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str] | None, place: str
):
    monkeypatch.delenv("TAPE_BENCH_OUT")
    monkeypatch.chdir(tmp_path)
    data = "sample" if asked is None else str(make_data(tmp_path, "stability"))
    result = CliRunner().invoke(
        program, ["run", "positional", "-t", "stability", "--data", data, *(asked or [])]
    )
    assert result.exit_code == 0, result.output
    (path,) = store.find(Path(place))
    assert f"records in {place}:" in result.output
    assert str(path) in result.output
    assert {p.name for p in tmp_path.iterdir()} == {place, *(["data"] if asked is not None else [])}


def test_out_is_obeyed_by_trials(run, tmp_path: Path):
    assert f"trial records in {tmp_path}:" in run("onehot", *QUICK).output


def test_ctrl_c_leaves_nothing_half_written_and_the_run_goes_on(tmp_path: Path):
    command = [sys.executable, "-m", "tape_bench.cli", "run", "onehot", "-t", "stability",
               "--data", "sample", "--head", "tape", "--out", str(tmp_path), "--seeds"]  # fmt: skip
    many = ",".join(map(str, range(40)))
    process = subprocess.Popen(
        [*command, many],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # A job started in the background inherits deaf ears for Ctrl-C; this one must hear it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.rglob("*-1.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    (path,) = store.find(tmp_path)
    assert store.read(path).status == "started"
    names = [name for _, _, files in os.walk(tmp_path) for name in files]
    assert not [name for name in names if name.startswith(".")]
    finished = {int(p.stem.split("-")[1]) for p in store.work_path(path).glob("*.json")}
    assert finished >= {0, 1}
