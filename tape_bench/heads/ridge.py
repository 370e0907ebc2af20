"""Ridge regression on standardised vectors: normal equations, all penalties at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import blas

from tape_bench.heads.lbfgs import Array
from tape_bench.heads.rows import Rows


class Ridge:
    """The minimum of the mean squared error + penalty * |weights|², the mean not penalised."""

    penalty: float
    """The one with the lowest mean squared error on valid."""
    valid_loss: float
    """That error."""
    gradient: float
    """Norm of the gradient at the solution, as a share of that at zero weights."""

    def fit(
        self,
        train: Rows,
        train_values: Array,
        valid: Rows,
        valid_values: Array,
        penalties: Sequence[float],
    ) -> None:
        """Solve on train for each penalty and keep the best on valid; values are `[proteins]`."""
        gram, right, mean = _moments(train, train_values)
        self._mean, self._centre = mean, float(train_values.mean())
        values, vectors = np.linalg.eigh(gram)
        turned = vectors.T @ right
        shrunk = np.maximum(values, 0)[:, None] + np.array(penalties)
        weights = vectors @ np.divide(turned[:, None], shrunk)
        found = self._values(valid, weights)
        losses = ((found - valid_values[:, None]) ** 2).mean(axis=0)
        best = int(losses.argmin())
        self.penalty, self.valid_loss = penalties[best], float(losses[best])
        self._weights = weights[:, best]
        left = gram @ self._weights + self.penalty * self._weights - right
        at_zero = float(np.linalg.norm(right))
        self.gradient = float(np.linalg.norm(left)) / at_zero if at_zero else 0.0

    def predict(self, rows: Rows) -> NDArray[np.float32]:
        """Predict a value for each protein, `[proteins]`."""
        return self._values(rows, self._weights[:, None])[:, 0].astype(np.float32)

    def _values(self, rows: Rows, weights: Array) -> Array:
        known = torch.from_numpy(weights)
        parts = [(piece.vectors.double() @ known).numpy() for piece in rows]
        found: Array = np.concatenate(parts) + (self._centre - self._mean @ weights)
        return found


def _moments(rows: Rows, values: Array) -> tuple[Array, Array, Array]:
    """Return mean covariances `[hidden, hidden]`, those with the values, and the mean vector."""
    hidden = rows.hidden
    gram = np.zeros((hidden, hidden), order="F")
    right = torch.zeros(hidden, dtype=torch.float64)
    total = torch.zeros(hidden, dtype=torch.float64)
    centred = torch.from_numpy(values - values.mean())
    for piece in rows:
        # In float32 the small eigenvalues, which a weak penalty divides by, would be noise.
        x = piece.vectors.double()
        # One triangle, the lower, is all that is needed: half of the work.
        gram = blas.dsyrk(1.0, x.numpy().T, beta=1.0, c=gram, lower=True, overwrite_c=True)
        right.addmv_(x.T, centred[piece.proteins.start : piece.proteins.stop])
        total += x.sum(dim=0)
    count = len(values)
    mean = (total / count).numpy()
    whole = np.tril(gram) + np.tril(gram, -1).T
    return whole / count - np.outer(mean, mean), right.numpy() / count, mean
