"""`tape-bench run`: what it prints, what it keeps, and what Ctrl-C leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tape_bench.cli import program
from tape_bench.results import store

QUICK = ["-t", "stability", "--data", "sample", "--limit", "50", "--head", "linear"]


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
        "TAPE_BENCH_TASK": "stability",
        "TAPE_BENCH_DATA": "sample",
        "TAPE_BENCH_SEEDS": "3",
        "TAPE_BENCH_LIMIT": "50",
    }
    output = run("onehot", "--dry-run", "--json", **environment).output
    (planned,) = json.loads(output)
    assert (planned["task"]["id"], planned["limit"]) == ("stability", 50)
    assert planned["protocol"]["seeds"] == [3]


def test_a_task_that_fails_is_told_at_the_end(tmp_path: Path):
    folder = tmp_path / "data" / "stability"
    folder.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        rows = "\n".join(f"{i},MKTAYIAKQR{'ACDEF'[i % 5]},{i / 7}" for i in range(20))
        (folder / f"stability_{split}.csv").write_text(f"id,sequence,stability_score\n{rows}\n")
    done = subprocess.run(
        [sys.executable, "-m", "tape_bench.cli", "run", "onehot", "-t", "stability", "-t",
         "fluorescence", "--data", str(folder.parent), "--out", str(tmp_path / "out")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: fluorescence: no data for the task fluorescence" in done.stderr
    (path,) = store.find(tmp_path / "out")
    assert store.read(path).status == "complete"


def test_ctrl_c_leaves_nothing_half_written_and_the_run_goes_on(tmp_path: Path):
    command = [sys.executable, "-m", "tape_bench.cli", "run", "onehot", "-t", "stability",
               "--data", "sample", "--out", str(tmp_path), "--seeds"]  # fmt: skip
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
