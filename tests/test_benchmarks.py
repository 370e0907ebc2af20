"""The benchmarks run: the GPU's are rehearsed on the CPU, so that none dies on the rented card."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[1]
GPU = ["smoke", "kernels", "profile", "launches", "cache", "tensor_parallel"]


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", GPU)
def test_a_benchmark_of_the_gpu_is_rehearsed(name: str) -> None:
    said = run(f"benchmarks.gpu.{name}", "--rehearse")
    assert "FAILED" not in said
    assert "| " in said or name == "profile"


def test_the_host_alone() -> None:
    assert "| tiny | 45 | mean |" in run("benchmarks.host", "--rehearse")


def test_the_engine_beside_its_peers() -> None:
    peers = ["padded", "padded-sorted", "transformers", "TAPE-like"]
    chosen = [part for peer in peers for part in ("--peer", peer)]
    said = run("benchmarks.engine", "--shape", "tiny", "--proteins", "24", *chosen)
    for way in ["packed", *peers]:
        assert f"| {way} | float32 |" in said


def test_the_hub_beside_transformers() -> None:
    said = run("benchmarks.hub", "--shape", "tiny", "--proteins", "8", "--rounds", "1")
    for precision in ("float32", "bfloat16"):
        for way in ("packed", "documented", "sorted"):
            assert f"| tiny | {precision} | {way} |" in said


def test_fine_tuning_beside_the_librarys_trainer() -> None:
    said = run("benchmarks.finetune", "--shape", "tiny", "--proteins", "8", "--rounds", "1")
    for way in ("packed", "trainer", "grouped"):
        assert f"| tiny | {way} |" in said
