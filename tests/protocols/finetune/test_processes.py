"""Several processes train as one does: the same losses, whoever started them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tape_bench.results import store
from tape_bench.results.record import RunRecord

TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def trained(model: str, out: Path, *more: str, launcher: tuple[str, ...] = ()) -> RunRecord:
    """Run in processes of one thread, and return the record."""
    options = {"epochs": 3, "batch": 7, "tokens": 300, "learning_rate": 0.001}
    given = [part for name, value in options.items() for part in ("-P", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *(["-m"] if launcher else []), "tape_bench.cli",
         "run", model, "-t", "secondary_structure", "--protocol", "finetune", "--seeds", "0",
         "--data", "sample", "--limit", "20", "--device", "cpu", "--out", str(out), "--quiet",
         *given, *more],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (path,) = out.rglob("finetune-*.json")
    assert not store.work_path(path).exists()
    assert len(list(store.models_path(path).rglob("head.safetensors"))) == 2
    return store.read(path)


def losses(record: RunRecord) -> list[float]:
    chosen = record.protocol.selected.values()
    return [value for one in chosen for row in one["history"] for value in row[:2]]


@pytest.mark.slow
@pytest.mark.parametrize("moves", ["all", "lora"])
def test_two_processes_come_to_the_losses_of_one(untrained, tmp_path, moves):
    """Two on gloo, each with half of a step's launches, beside one that adds them up."""
    alone = trained(untrained, tmp_path / "1", "-P", f"moves={moves}")
    two = trained(untrained, tmp_path / "2", "-P", f"moves={moves}", "--devices", "2")
    assert two.run_key == alone.run_key
    assert losses(two) == pytest.approx(losses(alone), rel=1e-5)
    assert len(losses(alone)) == 2 * 3 * 2
    for mine, its in zip(two.metrics, alone.metrics, strict=True):
        assert mine.value == pytest.approx(its.value, abs=0.005)


@pytest.mark.slow
def test_those_that_torchrun_starts_do_the_same(untrained, tmp_path):
    alone = trained(untrained, tmp_path / "1")
    two = trained(untrained, tmp_path / "2", launcher=tuple(TORCHRUN))
    assert losses(two) == pytest.approx(losses(alone), rel=1e-5)


@pytest.mark.slow
def test_what_one_process_finds_wrong_ends_all_and_is_told_once(untrained, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tape_bench.cli", "run", untrained, "-t", "stability", "--protocol",
         "finetune", "--data", "sample", "--limit", "20", "--out", str(tmp_path / "out"),
         "--devices", "2", "--device", "cpu", "--quiet", "-P", "learning_rate=1e30",
         "-P", "clip=1e30", "-P", "epochs=3"],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("training became unstable") == 1
