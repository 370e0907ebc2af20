"""Every test of an operation, once more for its kernel.

In a process of its own: Triton decides when a kernel is defined whether to compile or interpret it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

# Segment means over thousands of tokens are quick, so those tests are not set apart as slow.
OPERATIONS = [
    "add_layer_norm",
    "attention",
    "bias_gelu",
    "layer_norm",
    "linear",
    "pair_scores",
    "segment_mean",
]

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton is not installed"
)


@needs_triton
@pytest.mark.parametrize("operation", OPERATIONS)
def test_in_the_interpreter(operation):
    rerun(operation, "not slow", TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS[:-1])
def test_in_the_interpreter_at_length(operation):
    rerun(operation, "slow", TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_on_the_gpu(operation):
    rerun(operation, "slow or not slow")


def rerun(operation: str, marked: str, **settings: str) -> None:
    tests = Path(__file__).with_name(f"test_{operation}.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marked, str(tests)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TAPE_BENCH_KERNELS": "fused", **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
