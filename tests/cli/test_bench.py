"""`tape-bench bench` as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tape_bench.cli import main
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.speed import benchmark, cache_rates, machine, processes

CONFIG = ProteinLMConfig(
    layers=2, hidden=32, heads=2, positions=100, layernorm_eps=1e-12, gelu="tanh"
)


@pytest.fixture
def run(monkeypatch, capsys):
    # What the machine itself can do is measured elsewhere.
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(cache_rates, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(machine, "_SECONDS", 0.0)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tape-bench", "bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        return exit.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    convert(RandomWeights(CONFIG, 0), tmp_path / "Tiny")
    return f"random:{tmp_path / 'Tiny' / 'config.json'}"


def test_for_programs(run, tiny):
    code, stdout, stderr = run(tiny, "--device", "cpu", "--proteins", 40, "--json")
    assert code == 0
    assert "embed" in stderr
    found = json.loads(stdout)
    speed = found["embedding"]
    assert found["model"]["name"] == "random-2x32"
    assert (speed["proteins"], speed["padding"]) == (40, 0)
    # Those longer than the 99 residues that fit are cut.
    assert 40 * 43 < speed["residues"] < 40 * 99
    assert speed["launched_tokens"] == speed["residues"] + 40
    assert speed["residues_per_second"] == speed["residues"] / speed["seconds"]
    share = speed["useful_flops_per_second"] / speed["matmul_flops_per_second"]
    assert speed["share_of_matmul"] == share > 0
    assert found["load_seconds"] > 0
    assert found["peak_memory_bytes"] > 1 << 20
    assert all(rate > 0 for rate in found["cache"].values())
    assert "torch" in found["provenance"]["packages"]


def test_for_people(run, tiny, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    code, stdout, stderr = run(
        tiny, "--device", "cpu", "--seconds", 0.01, "--lengths", 50, "--quiet"
    )
    assert (code, stderr) == (0, "")
    assert max(map(len, stdout.splitlines())) <= 100
    for shown in ("random-2x32", "residues/s", "of plain matrix products", "0.0%", "GiB", "GB/s"):
        assert shown in stdout


def test_a_precision_that_is_not_multiplied_in_is_told(run, tiny):
    _, stdout, _ = run(tiny, "--device", "cpu", "--dtype", "float16", "--proteins", 3, "--quiet")
    assert "float16, multiplied in float32" in " ".join(stdout.split())


def test_a_model_that_is_no_network(run):
    code, stdout, _ = run("onehot", "--proteins", 3, "--lengths", "contact")
    assert code == 0
    assert "its operations are not known" in stdout
    found = json.loads(run("onehot", "--proteins", 3, "--json")[1])
    assert found["embedding"]["share_of_matmul"] is None


@pytest.mark.parametrize(
    ("rate", "shown"), [(1e9, "1,000,000,000 residues/s"), (None, "too short to tell")]
)
def test_processes_beside_one(run, monkeypatch, rate, shown):
    together = processes.Together(processes=2, residues=3, seconds=1.0, residues_per_second=rate)
    monkeypatch.setattr(benchmark, "measure_together", lambda *_: together)
    code, stdout, _ = run("onehot", "--proteins", 3, "--devices", 2)
    assert code == 0
    assert "2 processes" in stdout
    assert shown in stdout


@pytest.mark.slow
def test_two_processes(run, tiny):
    code, stdout, _ = run(tiny, "--device", "cpu", "--proteins", 200, "--devices", 2, "--json")
    assert code == 0
    together = json.loads(stdout)["together"]
    assert together["processes"] == 2
    assert together["residues"] > 400 * 43


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lengths", "100"], "reads at most 99 residues"),
        (["--lengths", "stabilty"], "did you mean stability"),
        (["--proteins", "3", "--seconds", "1"], "exclude each other"),
        (["--seconds", "0"], "--seconds"),
        (["--proteins", "0"], "--proteins"),
    ],
)
def test_refused(run, tiny, arguments, message):
    code, stdout, stderr = run(tiny, *arguments)
    assert (code, stdout) == (2, "")
    assert message in stderr
