"""A metric on one set of predictions, ready to be drawn again protein by protein."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating[Any]]
Weights = NDArray[np.float32]
"""How often each protein was drawn, `[draws, proteins]`: whole numbers, exact in float32."""


@dataclass(frozen=True)
class Statistic:
    """A metric as a sum over proteins followed by a formula.

    Pooled accuracy, for one, is the row `(correct residues, labelled residues)` of each protein,
    summed, and then the formula `correct / labelled`. A bootstrap of such a metric is a matrix
    product of the weights of the draws with the rows.
    """

    proteins: NDArray[np.int64]
    """Which examples of the predictions the metric can score, `[proteins]`."""
    rows: Rows
    """What each of them adds to the sum, `[proteins, sums]`."""
    formula: Callable[[Rows], Rows]
    """From sums `[..., sums]` to scores `[...]`, NaN where there is none."""
    left_out: dict[str, int]
    """Examples the metric cannot score, by reason."""
    undefined: str = "there are no proteins"
    """The reason to give should the formula have no value for all proteins together."""

    @classmethod
    def empty(cls, reason: str) -> Statistic:
        """Build the sample of a metric that has nothing to rest on."""
        nobody = np.zeros(0, dtype=np.int64)
        return cls(nobody, np.zeros((0, 2)), ratio, {}, reason)

    @property
    def n(self) -> int:
        """Number of proteins the score rests on."""
        return len(self.proteins)

    def value(self) -> float | None:
        """Return the score over all proteins, or None where it is undefined."""
        if not self.n:
            return None
        value = float(self.of_sums(self.rows.sum(axis=0, dtype=np.float64)))
        return value if np.isfinite(value) else None

    def why_undefined(self) -> str:
        """Return the reason for a score that is None."""
        if self.n or not self.left_out:
            return self.undefined
        counts = ", ".join(f"{count} with {reason}" for reason, count in self.left_out.items())
        return f"no protein can be scored: {counts}"

    def drawn(self, weights: Weights) -> Rows:
        """Return the score of every draw, `[draws]`, NaN where it is undefined."""
        return self.of_sums(weights.astype(self.rows.dtype, copy=False) @ self.rows)

    @classmethod
    def drawn_together(cls, statistics: Sequence[Self], weights: Weights) -> Rows:
        """Return the scores of samples that differ in the predictions only, `[draws, samples]`."""
        return np.stack([statistic.drawn(weights) for statistic in statistics], axis=1)

    def of_sums(self, sums: Rows) -> Rows:
        """Apply the formula to sums `[..., sums]`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.formula(sums)


def ratio(sums: Rows) -> Rows:
    """Divide the first sum by the second: pooled shares, and means where the second counts."""
    return sums[..., 0] / sums[..., 1]


def left_out_by(
    reasons: dict[str, NDArray[np.bool_]],
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Sort out the examples a metric cannot score; each counts under the first reason it meets.

    Args:
        reasons: For each reason, which examples it keeps out, `[examples]`.

    Returns:
        The places of the remaining examples, and the counts by reason.
    """
    out = np.zeros(len(next(iter(reasons.values()))), dtype=bool)
    counts = {}
    for reason, holds in reasons.items():
        fresh = int(np.count_nonzero(holds & ~out))
        if fresh:
            counts[reason] = fresh
        out |= holds
    return np.flatnonzero(~out), counts
