"""Ridge regression on aligned proteins: what each letter at each place adds to a value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from tape_bench.errors import ModelError
from tape_bench.heads.catalogue import ALIGNED_PENALTIES as PENALTIES

WIDEST = 10_000
"""Columns beyond which the normal equations would take more than about 2 GB."""


class AlignedRidge:
    """Ridge regression on the representations of a protein's residues laid side by side.

    Position i of one protein answers to position i of every other, counted from the start of
    the chain; a shorter protein is 0 at the places it lacks. The width is that of the longest
    training protein: what a longer one has beyond it was never seen, and is left out. Columns
    without variance in training are dropped.
    """

    alpha: float
    """The penalty with the lowest mean squared error on valid."""
    valid_loss: float
    """That error."""

    def fit(
        self,
        train: Sequence[NDArray[np.float32]],
        train_values: NDArray[np.float64],
        valid: Sequence[NDArray[np.float32]],
        valid_values: NDArray[np.float64],
    ) -> None:
        """Solve on train for each penalty and keep the best on valid.

        Args:
            train: representations `[residues, hidden]` of each protein.
            train_values: what to predict, `[proteins]`.
            valid: as train.
            valid_values: as train_values.

        Raises:
            ModelError: more than `WIDEST` columns vary.
        """
        self._columns = _varying(train)
        if len(self._columns) > WIDEST:
            raise ModelError(
                f"aligned proteins give {len(self._columns)} columns; ridge regression takes "
                f"{WIDEST} at most",
                fix="use the model `positional`, or another head",
            )
        features = self._matrix(train)
        known = self._matrix(valid)
        self._mean = np.asarray(features.mean(axis=0)).ravel()
        self._intercept = float(train_values.mean())
        gram = (features.T @ features).toarray(order="F")
        gram -= len(train) * np.outer(self._mean, self._mean)
        right = features.T @ (train_values - self._intercept)
        self.valid_loss = np.inf
        for alpha in PENALTIES:
            penalised = gram.copy(order="F")
            penalised[np.diag_indices_from(gram)] += alpha
            weights = linalg.cho_solve(linalg.cho_factor(penalised, overwrite_a=True), right)
            loss = float(np.mean((self._values(known, weights) - valid_values) ** 2))
            if loss < self.valid_loss:
                self.alpha, self.valid_loss, self._weights = alpha, loss, weights

    def predict(self, proteins: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        """Predict a value for each protein, `[proteins]`."""
        return self._values(self._matrix(proteins), self._weights)

    def _values(
        self, features: sparse.csr_array, weights: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        values: NDArray[np.float64] = features @ weights
        return values + (self._intercept - self._mean @ weights)

    def _matrix(self, proteins: Sequence[NDArray[np.float32]]) -> sparse.csr_array:
        """Lay each protein's residues side by side, kept columns only, `[proteins, columns]`."""
        values, columns, ends = [np.empty(0)], [np.empty(0, np.int32)], [0]
        for protein in proteins:
            flat = protein.ravel()
            # A sorted prefix of the columns lies within this protein; the others are 0.
            within = self._columns[: np.searchsorted(self._columns, flat.size)]
            kept = flat[within]
            filled = np.flatnonzero(kept)
            values.append(kept[filled].astype(np.float64))
            columns.append(filled.astype(np.int32))
            ends.append(ends[-1] + len(filled))
        return sparse.csr_array(
            (np.concatenate(values), np.concatenate(columns), np.array(ends)),
            shape=(len(ends) - 1, len(self._columns)),
        )


def _varying(proteins: Sequence[NDArray[np.float32]]) -> NDArray[np.int64]:
    """Return the columns in which not all proteins are the same, in order."""
    width = max(protein.size for protein in proteins)
    lowest = np.full(width, np.inf, np.float32)
    highest = np.full(width, -np.inf, np.float32)
    row = np.empty(width, np.float32)
    for protein in proteins:
        row[: protein.size] = protein.ravel()
        row[protein.size :] = 0.0
        np.minimum(lowest, row, out=lowest)
        np.maximum(highest, row, out=highest)
    return np.flatnonzero(lowest < highest)
