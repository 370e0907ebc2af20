"""The machine's own rates: what counts as a run, and what is divided by what."""

from __future__ import annotations

import itertools

import pytest
import torch

from tape_bench.speed import machine
from tape_bench.speed.machine import MatmulRate


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still unless it is moved."""

    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(machine.time, "perf_counter", clock)
    return clock


def test_the_fastest_run_counts_but_not_the_first(clock) -> None:
    durations = itertools.chain([0.001, 0.3, 0.1, 0.2], itertools.repeat(9.0))

    def run() -> None:
        clock.now += next(durations)

    assert machine.fastest(run) == pytest.approx(0.1)


def test_short_runs_are_repeated(clock) -> None:
    runs = []

    def run() -> None:
        runs.append(1)
        clock.now += 0.01

    machine.fastest(run)
    assert 50 <= len(runs) <= 52


def test_the_rate_of_copies(monkeypatch) -> None:
    monkeypatch.setattr(machine, "fastest", lambda run: run() or 0.5)
    monkeypatch.setattr(machine, "COPY_BYTES", 1000)
    assert machine.copy_rate() == 2000


def test_the_rate_of_products_is_the_better_shapes_median(clock, monkeypatch) -> None:
    products = []

    def product(x, weight):
        # One to warm up; then 1, 2 and 9 seconds for one shape, always 4 for the other.
        products.append((tuple(x.shape), tuple(weight.shape), x.dtype))
        clock.now += 4 if x.shape[1] == 8 else [7, 1, 9, 2][sum(p[0][1] == 4 for p in products) - 1]

    monkeypatch.setattr(machine.functional, "linear", product)
    rate = MatmulRate(6, 4, 8, torch.float64, torch.device("cpu"))
    for _ in range(3):
        clock.now += 1000
        rate.take()
    assert set(products) == {((6, 4), (8, 4), torch.float64), ((6, 8), (4, 8), torch.float64)}
    assert len(products) == 2 * 4
    assert rate.flops_per_second == 2 * 6 * 4 * 8 / 2
    assert rate.seconds == clock.now - 3000


def test_timing_products_takes_a_tenth_of_the_time_at_most(clock, monkeypatch) -> None:
    def product(x, weight):
        clock.now += 1

    monkeypatch.setattr(machine.functional, "linear", product)
    rate = MatmulRate(6, 4, 8, torch.float32, torch.device("cpu"))
    for _ in range(1000):
        rate.take()
        clock.now += 1
    assert 0.05 < rate.seconds / clock.now < 0.11
