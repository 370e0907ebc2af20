"""Several processes against one: what their start takes must not count."""

from __future__ import annotations

import numpy as np
import pytest

from tape_bench.embedding.executors.executor import Computed
from tape_bench.embedding.executors.session import Session
from tape_bench.models.embedder import Identity
from tape_bench.speed import processes as scaling
from tape_bench.speed.processes import measure_together


class Model:
    identity = Identity("m", "m", "1", None, 0, 1, None, ())

    def embed(self, sequences, pool="residues"):
        return [np.zeros(1, np.float32) for _ in sequences]


class Three:
    """Three processes, on a clock of their own."""

    parts = 3

    def __init__(self, start: float, protein: float) -> None:
        self.now, self.start, self.protein = 0.0, start, protein
        self.seen: list[int] = []

    def run(self, job, progress):
        self.seen.append(sum(map(len, job.shares)))
        self.now += self.start + self.protein * max(map(len, job.shares))
        return Computed()


def draw(count: int) -> list[str]:
    return [f"{number:020b}".replace("0", "A").replace("1", "C") for number in range(count)]


def test_starting_does_not_count(monkeypatch) -> None:
    processes = Three(start=7, protein=0.01)
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: processes.now)
    found = measure_together(Session(Model(), processes), draw, 100)
    assert processes.seen == [75, 300]
    assert (found.processes, found.residues) == (3, 300 * 20)
    assert found.seconds == pytest.approx(7 + 1)
    # Each protein has 20 residues, and three are done at a time.
    assert found.residues_per_second == pytest.approx(3 * 20 / 0.01)


def test_too_short_to_tell(monkeypatch) -> None:
    processes = Three(start=7, protein=0)
    monkeypatch.setattr(scaling.time, "perf_counter", lambda: processes.now)
    found = measure_together(Session(Model(), processes), draw, 1)
    assert found.residues_per_second is None
