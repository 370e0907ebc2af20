"""A split through a model that predicts by itself: launches by length, halved where memory ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tape_bench.cards import Target
from tape_bench.data.examples import Split
from tape_bench.embedding.forward import out_of_memory
from tape_bench.errors import ModelError
from tape_bench.models.embedder import TaskPredictor
from tape_bench.models.packing import pack
from tape_bench.progress import Progress
from tape_bench.protocols.truth import beside_truth
from tape_bench.scoring.predictions import Predictions


def predicted(
    model: TaskPredictor, split: Split, target: Target, window: int | None, progress: Progress
) -> Predictions:
    """Predict a split, and set the truth beside it.

    Raises:
        ModelError: the memory does not hold one protein, or values are not finite.
    """
    sequences = split.sequences
    lengths = [len(sequence) for sequence in sequences]
    waiting = pack([length + 2 for length in lengths], model.tokens_per_launch(), padded=True)
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(sequences)
    done, total = 0, sum(lengths)
    while waiting:
        rows = waiting.pop(0)
        progress.advance(f"predict {split.name}", done, total, "residues")
        try:
            values = model.predict([sequences[row] for row in rows], window)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(rows) == 1:
                raise ModelError(
                    f"the memory does not hold a protein of {lengths[rows[0]]} residues",
                    fix="shorten it by the length policy truncate or window",
                ) from None
            half = len(rows) // 2
            waiting[:0] = [rows[:half], rows[half:]]
            continue
        for row, one in zip(rows, values, strict=True):
            if not np.isfinite(one).all():
                raise ModelError(
                    "a prediction is not finite",
                    where=f"{model.identity.spec}, {split.name}, record {split.ids[row]}",
                    fix="the weights are damaged; get the checkpoint again",
                )
            found[row] = one
        done += sum(lengths[row] for row in rows)
    progress.advance(f"predict {split.name}", total, total, "residues")
    return beside_truth(split, target, np.concatenate(found))
