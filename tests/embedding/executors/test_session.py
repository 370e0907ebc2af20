"""Who computes is decided before anything is loaded, and refused where the machine has it not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tape_bench.embedding.executors.executor import NOTHING, Serial
from tape_bench.embedding.executors.local import LocalProcesses
from tape_bench.embedding.executors.session import Session, _place, assemble
from tape_bench.errors import UsageError


def test_one_process_by_default(checkpoint: Path):
    session = assemble(f"proteinlm:{checkpoint}", {})
    assert isinstance(session.executor, Serial)
    assert session.executor.meet(NOTHING) == (session.executor, NOTHING)


def test_workers_are_places_on_the_cpu_where_there_is_no_gpu(checkpoint: Path):
    session = assemble(f"proteinlm:{checkpoint}", {"device": "cpu"}, devices=3, tensor_parallel=2)
    assert isinstance(session.executor, LocalProcesses)
    assert session.executor.parts == 3
    assert session.executor.devices == ["cpu"] * 6


def test_gpus_are_numbered(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    session = assemble(f"proteinlm:{checkpoint}", {}, devices=2, tensor_parallel=2)
    assert session.executor.devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    with pytest.raises(UsageError, match="8 processes need as many GPUs, and this machine has 4"):
        assemble(f"proteinlm:{checkpoint}", {}, devices=8)


def test_a_model_that_has_no_say_in_its_device_is_given_none():
    assert _place(lambda argument: None, {"device": "cpu"}, 1, 2) is None


@pytest.mark.parametrize(
    ("model", "options", "processes", "says"),
    [
        ("onehot", {}, {"tensor_parallel": 2}, "has no option 'tensor_parallel'"),
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


def test_one_process_leads(letters):
    assert Session.of(letters).executor.leads
