"""Short ways of writing predictions down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tape_bench.scoring.predictions import Predictions


class Predict:
    """Builds predictions of each kind from plain lists, one entry a protein."""

    def values(self, measured: Sequence[float], predicted: Sequence[float]) -> Predictions:
        n = len(measured)
        return Predictions(
            "sequence_value", _ids(n), np.full(n, 50), np.float32(predicted), np.float64(measured)
        )

    def folds(self, true: Sequence[int], scores: Any) -> Predictions:
        n = len(true)
        return Predictions(
            "sequence_class", _ids(n), np.full(n, 50), np.float32(scores), np.int64(true)
        )

    def residues(self, true: Sequence[Sequence[int]], scores: Sequence[Any]) -> Predictions:
        lengths = np.array([len(labels) for labels in true])
        return Predictions(
            "token_class", _ids(len(true)), lengths,
            np.concatenate([np.float32(part) for part in scores]),
            np.concatenate([np.int64(labels) for labels in true]),
        )  # fmt: skip

    def called(
        self, true: Sequence[Sequence[int]], classes: Sequence[Sequence[int]]
    ) -> Predictions:
        """Residue classes given outright rather than as scores."""
        return self.residues(true, [np.eye(8)[list(part)] for part in classes])

    def pairs(
        self, lengths: Sequence[int], probabilities: Sequence[Any], labels: Sequence[Any]
    ) -> Predictions:
        """Contacts from whole matrices `[residues, residues]`."""
        upper = [np.triu_indices(length, 6) for length in lengths]
        return Predictions(
            "residue_pair", _ids(len(lengths)), np.asarray(lengths),
            np.concatenate([np.float32(p[at]) for p, at in zip(probabilities, upper, strict=True)]),
            np.concatenate([np.int64(y[at]) for y, at in zip(labels, upper, strict=True)]),
        )  # fmt: skip


def _ids(n: int) -> tuple[str, ...]:
    return tuple(f"protein{number}" for number in range(n))


@pytest.fixture(scope="session")
def predict() -> Predict:
    return Predict()


@pytest.fixture(scope="session")
def golden_metrics(shared: Any) -> dict[str, np.ndarray]:
    with np.load(shared / "reference/goldens/metrics.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def golden_pairs(golden_metrics: dict[str, np.ndarray], predict: Predict) -> Any:
    def build(set_: str) -> Predictions:
        lengths, logits, labels = (
            golden_metrics[f"contact/{set_}/{key}"] for key in ("lens", "logits", "labels")
        )
        # Softmax over two classes.
        probabilities = 1 / (1 + np.exp(logits[..., 0] - logits[..., 1]))
        return predict.pairs(lengths, probabilities, labels)

    return build
