"""What the machine can do at best, to set beside what is got out of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch.nn import functional

COPY_BYTES = 1 << 28
"""Bytes that are copied: more than processors keep to themselves."""

_SECONDS = 0.5
"""How long an operation is repeated, at least."""

_ON_GPU = 20
"""Products in a row on a GPU, whose clock rises to its work."""

_SHARE = 0.1
"""Of the time that goes by, how much may go into timing products."""


class MatmulRate:
    """Floating-point operations a second of plain matrix products, timed between other work.

    What runs for minutes is set beside it, on a machine that may not be as fast in one minute as
    in the next. So products are timed now and then in these minutes, and the median counts.
    """

    def __init__(
        self, tokens: int, hidden: int, inner: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Prepare products of the shapes that a transformer's linear maps have."""
        self.seconds = 0.0
        """What timing has taken so far."""
        shapes: tuple[tuple[int, int], ...] = ((hidden, inner), (inner, hidden))
        # On a GPU the others may be the faster ones; on a CPU a product takes long.
        self._on_gpu = device.type == "cuda"
        shapes += ((hidden, 3 * hidden), (hidden, hidden)) if self._on_gpu else ()
        self._rates: dict[tuple[int, int], list[float]] = {shape: [] for shape in shapes}
        self._tokens, self._dtype, self._device = tokens, dtype, device
        self._begun = time.perf_counter()

    def take(self) -> None:
        """Time a product of each shape, unless much of the time has gone into that already."""
        started = time.perf_counter()
        if self.seconds > _SHARE * (started - self._begun):
            return
        self.measure()

    def measure(self) -> None:
        """Time a product of each shape."""
        if self._on_gpu:
            # What is still queued is other work's time.
            torch.cuda.synchronize(self._device)
        started = time.perf_counter()
        repeats = _ON_GPU if self._on_gpu else 1
        for (inputs, outputs), rates in self._rates.items():
            x = torch.randn(self._tokens, inputs, device=self._device).to(self._dtype)
            weight = torch.randn(outputs, inputs, device=self._device).to(self._dtype)
            product = partial(functional.linear, x, weight)
            if not rates:
                product()
            seconds = _timed(product, self._device, repeats) / repeats
            rates.append(2 * self._tokens * inputs * outputs / seconds)
        self.seconds += time.perf_counter() - started

    @property
    def flops_per_second(self) -> float:
        """The best shape's rate. It must have been measured."""
        return max(map(statistics.median, self._rates.values()))


def copy_rate() -> float:
    """Measure the bytes a second that one thread copies within memory, at best."""
    source = np.ones(COPY_BYTES, np.uint8)
    target = np.zeros_like(source)
    return COPY_BYTES / fastest(lambda: np.copyto(target, source))


def fastest(run: Callable[[], object]) -> float:
    """Return the seconds of an operation's fastest run, the first one not counted."""
    run()
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < _SECONDS:
        taken.append(_timed(run))
    return min(taken)


def _timed(
    run: Callable[[], object], device: torch.device | None = None, repeats: int = 1
) -> float:
    if device is not None and device.type == "cuda":
        # The GPU's own clock: it does not count how long Python takes to ask.
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        milliseconds: float = start.elapsed_time(end)
        return milliseconds / 1000
    started = time.perf_counter()
    for _ in range(repeats):
        run()
    return time.perf_counter() - started
