"""Triton, the language of the fused kernels; where it is missing they can be read but not run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None
    tl = None

__all__ = ["installed", "kernel", "launch", "power_of_two", "tl"]

installed = triton is not None


def kernel(function: Callable[..., None]) -> Any:
    """Mark a function as a GPU kernel; `launch` runs it."""
    return triton.jit(function) if installed else function


def launch(program: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Run a kernel once for every point of a grid, on the GPU that holds its first argument."""
    # Triton would take the current device, which need not be that of the tensors.
    with torch.cuda.device_of(arguments[0]):
        program[grid](*arguments, **options)


def power_of_two(n: int) -> int:
    """Round up to a power of two: a block of a kernel has no other sizes."""
    return 1 << (n - 1).bit_length()
