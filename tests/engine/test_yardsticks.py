"""The machine's own rates: what counts as a run, and what is divided by what."""

from __future__ import annotations

import itertools

import pytest
import torch

from tape_bench.engine import yardsticks


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""

    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(yardsticks.time, "perf_counter", clock)
    return clock


def test_the_fastest_run_counts_but_not_the_first(clock) -> None:
    durations = itertools.chain([0.001, 0.3, 0.1, 0.2], itertools.repeat(9.0))

    def run() -> None:
        clock.now += next(durations)

    assert yardsticks.fastest(run) == pytest.approx(0.1)


def test_short_runs_are_repeated(clock) -> None:
    runs = []

    def run() -> None:
        runs.append(1)
        clock.now += 0.01

    yardsticks.fastest(run)
    assert 50 <= len(runs) <= 52


def test_rates(monkeypatch) -> None:
    monkeypatch.setattr(yardsticks, "fastest", lambda run, device=None: run() is None or 0.5)
    # The larger launch does 2 * 6 * 4 * 8 operations.
    rate = yardsticks.matmul_rate(6, 4, 8, torch.float64, torch.device("cpu"))
    assert rate == 2 * 6 * 4 * 8 / 0.5
    monkeypatch.setattr(yardsticks, "fastest", lambda run, device=None: run() or 0.5)
    monkeypatch.setattr(yardsticks, "COPY_BYTES", 1000)
    assert yardsticks.copy_rate() == 2000
