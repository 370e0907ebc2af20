"""Contact precision as TAPE and ProteinLM computed it, for comparison with what they published.

Neither is what its name says. TAPE sums the labels of the picked pairs, and where it runs out of
valid pairs it goes on picking invalid ones, whose label is -1. ProteinLM picks from the whole
matrix, which holds every pair twice: its score at L/5 is that at L/10.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tape_bench.scoring.contact_precision import count_hits
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.statistic import Rows, Statistic, Weights, left_out_by, ratio

_TOO_SHORT = "fewer than 5 residues"


def tape_pooled(predictions: Predictions) -> Statistic:
    """TAPE's precision at L/5 of all proteins as one batch.

    TAPE multiplies the probabilities by a mask (label not -1, six or more apart, upper triangle)
    and takes floor(L/5) of the flattened matrix. Where fewer are eligible, what is left are
    zeros, and `torch.topk` takes them from the first floor(L/5) entries: the first row, whose
    entries are eligible or -1. So every missing pair costs one contact, and the score can be
    negative. (An eligible probability that is exactly zero would tie with these.)
    """
    counted = predictions.derived(count_hits)
    wanted = predictions.lengths // 5
    missing = np.maximum(wanted - counted.valid["ge6"], 0)
    return _pooled(counted.hits["ge6", "L/5"] - missing, wanted)


def tape_by_batch(predictions: Predictions, batch: int) -> Statistic:
    """TAPE's precision at L/5 as its evaluation printed it: pooled by batch, batches averaged.

    Batches are taken in the order of the examples; the score depends on it and on the size.
    """
    pooled = tape_pooled(predictions)
    batches = -(-len(predictions.ids) // batch)
    of_batch = pooled.proteins // batch
    taken = np.bincount(of_batch, weights=pooled.rows[:, 1], minlength=batches)
    if not np.all(taken):
        without = int(np.flatnonzero(taken == 0)[0]) + 1
        return Statistic.empty(
            f"batch {without} has no protein of 5 residues: TAPE divides by zero"
        )
    return _BatchedStatistic(
        pooled.proteins,
        pooled.rows[:, :1] / (batches * taken[of_batch, None]),
        lambda sums: sums[..., 0],
        pooled.left_out,
        pooled=pooled.rows,
        starts=np.flatnonzero(np.diff(of_batch, prepend=-1)),
    )


def proteinlm_pooled(predictions: Predictions) -> Statistic:
    """ProteinLM's precision at L/5: both triangles, all proteins pooled, -1 as no contact."""
    counted = predictions.derived(count_hits)
    return _pooled(counted.both_triangles, predictions.lengths // 5)


def _pooled(contacts: NDArray[np.float64], picks: NDArray[np.int64]) -> Statistic:
    proteins, left_out = left_out_by({_TOO_SHORT: picks == 0})
    return Statistic(proteins, np.stack([contacts, picks], axis=1)[proteins], ratio, left_out)


@dataclass(frozen=True)
class _BatchedStatistic(Statistic):
    """A mean over batches: a draw pools what it has of each batch, and skips those it has not.

    `rows` hold what each protein adds to the mean while every batch is whole.
    """

    pooled: Rows = field(kw_only=True)
    """Contacts among the picks, and picks, `[proteins, 2]`."""
    starts: NDArray[np.int64] = field(kw_only=True)
    """Where each batch begins, `[batches]`."""

    def drawn(self, weights: Weights) -> Rows:
        """Return the mean over batches of every draw, `[draws]`."""
        contacts, picks = (
            np.add.reduceat(weights * column, self.starts, axis=1) for column in self.pooled.T
        )
        of_batch = np.divide(contacts, picks, out=np.zeros_like(contacts), where=picks > 0)
        mean: Rows = of_batch.sum(axis=1) / np.count_nonzero(picks, axis=1)
        return mean
