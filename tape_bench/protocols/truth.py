"""What a protocol predicted for a split, with the truth beside it."""

from __future__ import annotations

import numpy as np

from tape_bench.cards import Target
from tape_bench.data.examples import Split
from tape_bench.models.embedder import Representation
from tape_bench.scoring.contacts import pair_labels
from tape_bench.scoring.predictions import Predictions


def beside_truth(split: Split, target: Target, values: Representation) -> Predictions:
    """Set the truth of a split beside what was predicted for it.

    Args:
        split: the examples, which must carry the target.
        target: what was predicted.
        values: float32, of every item of every example, end to end; see `Predictions` for what an
            item is.
    """
    kind = split.card.kind
    known = [example.targets[target.name] for example in split]
    if kind == "residue_pair":
        known = [pair_labels(coordinates) for coordinates in known]
    if kind in ("residue_pair", "token_class"):
        truth = np.concatenate(known).astype(np.int64)
    else:
        truth = np.array(known, np.float64 if kind == "sequence_value" else np.int64)
    lengths = np.array([len(sequence) for sequence in split.sequences], np.int64)
    return Predictions(kind, tuple(split.ids), lengths, values, truth, split.clusters)
