"""What the machine can do at best, to set beside what is got out of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.nn import functional

COPY_BYTES = 1 << 28
"""Bytes that are copied: more than processors keep to themselves."""

_SECONDS = 0.5
"""How long each operation is repeated, at least."""


def matmul_rate(
    tokens: int, hidden: int, inner: int, dtype: torch.dtype, device: torch.device
) -> float:
    """Measure the floating-point operations a second of plain matrix products.

    The best of the two shapes that a transformer's perceptron has, each over `tokens` tokens and
    over half as many.
    """
    best = 0.0
    for rows, (inputs, outputs) in itertools.product(
        (tokens, (tokens + 1) // 2), ((hidden, inner), (inner, hidden))
    ):
        x = torch.randn(rows, inputs, device=device).to(dtype)
        weight = torch.randn(outputs, inputs, device=device).to(dtype)
        seconds = fastest(partial(functional.linear, x, weight), device)
        best = max(best, 2 * rows * inputs * outputs / seconds)
    return best


def copy_rate() -> float:
    """Measure the bytes a second that one thread copies within memory."""
    source = np.ones(COPY_BYTES, np.uint8)
    target = np.zeros_like(source)
    return COPY_BYTES / fastest(lambda: np.copyto(target, source))


def fastest(run: Callable[[], object], device: torch.device | None = None) -> float:
    """Return the seconds of an operation's fastest run, the first one not counted."""
    run()
    clock = _gpu_seconds if device is not None and device.type == "cuda" else _seconds
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < _SECONDS:
        taken.append(clock(run))
    return min(taken)


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _gpu_seconds(run: Callable[[], object]) -> float:
    # The GPU's own clock: it does not count how long Python takes to ask.
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    end.synchronize()
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1000
