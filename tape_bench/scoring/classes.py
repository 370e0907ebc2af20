"""Accuracy and F1: a class for every residue, or for every protein.

The predicted class is the one with the highest score, the lowest class among equals, as in TAPE's
code: who scores all classes alike has called class 0. Items whose true class is -1 are unlabelled
and count nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.statistic import Rows, Statistic, left_out_by, ratio


@dataclass(frozen=True)
class _Called:
    """The labelled items: whose they are, what is true, what was predicted. Each `[items]`."""

    example: NDArray[np.int64]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]
    labelled: NDArray[np.int64]
    """Number of labelled items, `[examples]`."""


def accuracy_pooled(predictions: Predictions) -> Statistic:
    """Share of labelled items whose class is predicted, all proteins pooled."""
    called = predictions.derived(_called)
    right = called.example[called.true == called.predicted]
    correct = np.bincount(right, minlength=len(called.labelled))
    return _over_labelled(predictions, correct, called.labelled)


def accuracy_by_protein(predictions: Predictions) -> Statistic:
    """Share of labelled residues whose class is predicted, averaged over proteins."""
    pooled = accuracy_pooled(predictions)
    share = pooled.rows[:, 0] / pooled.rows[:, 1]
    rows = np.stack([share, np.ones_like(share)], axis=1)
    return Statistic(pooled.proteins, rows, ratio, pooled.left_out)


def accuracy_top5(predictions: Predictions) -> Statistic:
    """Share of proteins whose true class is among the five scored highest.

    Classes scored alike share the last places evenly: the score is the expectation over all
    their orders, 5/1195 for a model that scores all of 1,195 classes the same.
    """
    higher, alike = _rivals(predictions)
    return _over_labelled(predictions, np.clip((5 - higher) / alike, 0, 1))


def accuracy_top5_generous(predictions: Predictions) -> Statistic:
    """Share of proteins for whose true class fewer than five classes are scored strictly higher.

    Classes scored the same do not push one another out: a model that scores all classes equally
    is always right. Kept for records of old; without ties it is `accuracy_top5`.
    """
    higher, _ = _rivals(predictions)
    return _over_labelled(predictions, (higher < 5).astype(float))


def _rivals(predictions: Predictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count the classes scored above the true one, and those scored like it, itself included."""
    true = np.maximum(predictions.targets.astype(np.int64)[:, None], 0)
    its_score = np.take_along_axis(predictions.values, true, axis=1)
    values = predictions.values
    return (values > its_score).sum(axis=1), (values == its_score).sum(axis=1)


def f1(predictions: Predictions, class_: int | None = None) -> Statistic:
    """F1 of one class, or the mean over the classes that occur or are predicted.

    `2 * hits / (occurrences + predictions)` over all labelled items, proteins pooled.
    """
    called = predictions.derived(_called)
    classes = range(predictions.values.shape[1]) if class_ is None else range(class_, class_ + 1)
    right = called.true == called.predicted
    # Small whole numbers are exact in float32, and 1,195 folds take half the memory.
    rows = np.zeros((len(predictions.ids), 2, len(classes)), dtype=np.float32)
    for column, example, class_of in (
        (0, called.example[right], called.true[right]),
        (1, called.example, called.true),
        (1, called.example, called.predicted),
    ):
        mine = (class_of >= classes.start) & (class_of < classes.stop)
        np.add.at(rows[:, column], (example[mine], class_of[mine] - classes.start), 1)
    proteins, left_out = left_out_by({"no label": called.labelled == 0})
    undefined = f"class {class_} neither occurs nor is predicted"
    flat = rows.reshape(len(rows), -1)
    return Statistic(proteins, flat[proteins], _mean_f1, left_out, undefined)


def _called(predictions: Predictions) -> _Called:
    labelled = predictions.targets != -1
    example = np.repeat(np.arange(len(predictions.ids)), predictions.counts)[labelled]
    return _Called(
        example,
        predictions.targets[labelled].astype(np.int64),
        predictions.values.argmax(axis=1)[labelled],
        np.bincount(example, minlength=len(predictions.ids)),
    )


def _over_labelled(
    predictions: Predictions, hits: NDArray[Any], of: NDArray[np.int64] | None = None
) -> Statistic:
    """Divide hits by how many there could be (one each if None), of the proteins with a label."""
    called = predictions.derived(_called)
    rows = np.stack([hits, np.ones_like(hits) if of is None else of], axis=1, dtype=float)
    proteins, left_out = left_out_by({"no label": called.labelled == 0})
    return Statistic(proteins, rows[proteins], ratio, left_out)


def _mean_f1(sums: Rows) -> Rows:
    """From hits of each class, then occurrences plus predictions of each, `[..., 2 * classes]`."""
    hits, either = np.split(sums, 2, axis=-1)
    met = either > 0
    of_class = np.where(met, 2 * hits / either, 0)
    mean: Rows = of_class.sum(axis=-1) / met.sum(axis=-1)
    return mean
