from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tape_bench import kernels
from tape_bench.errors import UsageError
from tape_bench.kernels import attention, dispatch, language

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _no_setting(monkeypatch):
    monkeypatch.delenv("TAPE_BENCH_KERNELS", raising=False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


@pytest.fixture
def machine(monkeypatch):
    """A machine with a recent GPU, Triton and a compiler, whatever this one has."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    monkeypatch.setattr(language, "installed", True)
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    dispatch._obstacle.cache_clear()
    yield monkeypatch
    dispatch._obstacle.cache_clear()


def test_the_cpu_takes_the_references():
    assert dispatch.choice(CPU) == (False, "no CUDA device computes here")
    assert not dispatch.fused(torch.ones(1))


def test_a_gpu_takes_the_kernels(machine):
    assert dispatch.choice(GPU)[0]


def test_a_gpu_takes_the_references_if_told_to(machine):
    machine.setenv("TAPE_BENCH_KERNELS", "reference")
    assert dispatch.choice(GPU) == (False, "TAPE_BENCH_KERNELS=reference")


def old_gpu(machine):
    machine.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))


def no_triton(machine):
    machine.setattr(language, "installed", False)


def no_compiler(machine):
    machine.setattr("shutil.which", lambda program: None)


@pytest.mark.parametrize(
    ("lack", "reason"),
    [
        (old_gpu, "Tesla V100 is older than compute capability 8.0"),
        (no_triton, "Triton is not installed"),
        (no_compiler, "C compiler"),
    ],
)
def test_what_a_gpu_lacks_is_told(machine, lack, reason):
    lack(machine)
    chosen, why = dispatch.choice(GPU)
    assert not chosen
    assert reason in why
    machine.setenv("TAPE_BENCH_KERNELS", "fused")
    with pytest.raises(UsageError, match=reason):
        dispatch.choice(GPU)


def test_kernels_cannot_be_insisted_on_where_they_cannot_run(monkeypatch):
    monkeypatch.setenv("TAPE_BENCH_KERNELS", "fused")
    with pytest.raises(UsageError, match="no CUDA device"):
        kernels.bias_gelu(torch.ones(2, 2), torch.ones(2), "erf")


def test_a_setting_nobody_knows(monkeypatch):
    monkeypatch.setenv("TAPE_BENCH_KERNELS", "fussed")
    with pytest.raises(UsageError, match="did you mean fused"):
        dispatch.choice(CPU)


def test_float64_and_gradients_are_for_the_references(monkeypatch):
    monkeypatch.setattr(dispatch, "choice", lambda device: (True, ""))
    single, double = torch.ones(1), torch.ones(1, dtype=torch.float64)
    weight = torch.ones(1, requires_grad=True)
    assert dispatch.fused(single, single.half(), single.bfloat16())
    assert not dispatch.fused(single, double)
    assert not dispatch.fused(single, weight)
    with torch.no_grad():
        assert dispatch.fused(single, weight)


def test_what_runs_is_told_for_every_operation(monkeypatch):
    answers = kernels.running()
    assert set(answers) == set(kernels.FUSED) < set(kernels.__all__)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("TAPE_BENCH_KERNELS", "fused")
    assert all(answer.startswith("! ") for answer in kernels.running().values())


def test_what_runs_on_a_gpu(machine):
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(attention, "flash_attention", lambda device: print)
    answers = kernels.running()
    assert answers["segment_mean"].startswith("fused")
    assert "flash attention from 128 tokens" in answers["varlen_attention"]


def test_operations_import_and_run_without_triton():
    script = """
import sys
sys.modules["triton"] = None
import torch
from tape_bench import kernels
print(kernels.segment_mean(torch.ones(4, 2), torch.tensor([0, 4])).tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[[1.0, 1.0]]"
