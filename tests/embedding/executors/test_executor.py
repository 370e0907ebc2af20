"""What processes computed adds up."""

from __future__ import annotations

from tape_bench.embedding.executors.executor import Computed

EARLY, LATE = Computed(100, 2.0, 1), Computed(50, 3.0, 0)


def test_seconds_add_up_within_a_process() -> None:
    assert EARLY.then(LATE) == Computed(150, 5.0, 1)


def test_seconds_of_processes_beside_each_other_are_those_of_the_slower() -> None:
    assert EARLY.beside(LATE) == Computed(150, 3.0, 1)
