"""Who computes is decided before anything is loaded, and refused where the machine has it not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tape_bench.engine.crew import Alone, Crew, _place, assemble
from tape_bench.engine.launch import Workers
from tape_bench.errors import UsageError


def test_one_process_by_default(checkpoint: Path):
    crew = assemble(f"proteinlm:{checkpoint}", {})
    assert isinstance(crew.computer, Alone)
    assert crew.meet()


def test_workers_are_places_on_the_cpu_where_there_is_no_gpu(checkpoint: Path):
    crew = assemble(f"proteinlm:{checkpoint}", {"device": "cpu"}, devices=3, tensor_parallel=2)
    assert isinstance(crew.computer, Workers)
    assert crew.computer.parts == 3
    assert crew.computer.devices == ["cpu"] * 6


def test_gpus_are_numbered(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    crew = assemble(f"proteinlm:{checkpoint}", {}, devices=2, tensor_parallel=2)
    assert crew.computer.devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    with pytest.raises(UsageError, match="8 processes need as many GPUs, and this machine has 4"):
        assemble(f"proteinlm:{checkpoint}", {}, devices=8)


def test_a_model_that_has_no_say_in_its_device_is_given_none():
    assert _place(lambda argument: None, {"device": "cpu"}, 1, 2) is None


@pytest.mark.parametrize(
    ("model", "options", "processes", "says"),
    [
        ("onehot", {}, {"tensor_parallel": 2}, "has no option 'tensor-parallel'"),
        ("random:proteinlm-200m", {"device": "cuda:1"}, {"devices": 2}, "cannot all compute on"),
        ("noehot", {}, {"devices": 2}, "no model named 'noehot'"),
    ],
)
def test_what_cannot_be_is_refused(model, options, processes, says):
    with pytest.raises(UsageError, match=says):
        assemble(model, options, **processes)


def test_a_loaded_model_cannot_be_shared(letters):
    assert assemble(letters, {}).model is letters
    with pytest.raises(UsageError, match="loaded already"):
        assemble(letters, {}, devices=2)


def test_devices_under_torchrun_are_refused(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="has started 2 processes already"):
        assemble("onehot", {}, devices=2)


def test_a_crew_of_one_leads(letters):
    assert Crew(letters).meet()
