"""How much of the test splits a model has already seen in training."""

from __future__ import annotations

from tape_bench.data.examples import TaskData


def overlap(task: TaskData) -> dict[str, int]:
    """Count, by test split, the records whose sequence also stands in train letter for letter."""
    trained = {
        sequence for split in task.values() if split.role == "train" for sequence in split.sequences
    }
    return {
        name: sum(sequence in trained for sequence in split.sequences)
        for name, split in task.items()
        if split.role == "test"
    }
