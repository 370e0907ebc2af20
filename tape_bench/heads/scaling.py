"""Channels brought to one scale, as the training split has them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

CLIP = 10.0
"""Standard deviations beyond which a standardised value is cut. A letter that one residue in a
hundred thousand has would otherwise weigh 300, and its products 100 000."""


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each channel, `[hidden]`."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    """0 for a channel that does not vary; such a channel is 0 once standardised."""

    @classmethod
    def of(cls, arrays: Iterable[NDArray[np.float32]]) -> Self:
        """Measure arrays `[rows, hidden]` one after the other; only one need be in memory."""
        count = 0
        mean: NDArray[np.float64] = np.zeros(1)
        squares: NDArray[np.float64] = np.zeros(1)
        for array in arrays:
            rows = array.astype(np.float64)
            own_mean = rows.mean(axis=0)
            apart = own_mean - mean
            count += len(rows)
            # Chan, Golub & LeVeque (1979): exact merging, no difference of large sums.
            mean = mean + apart * (len(rows) / count)
            squares = (
                squares
                + np.einsum("ij,ij->j", own := rows - own_mean, own)
                + apart**2 * (len(rows) * (count - len(rows)) / count)
            )
        deviation = np.sqrt(squares / max(count, 1))
        varies = deviation > np.abs(mean) * np.finfo(np.float32).eps
        return cls(mean, np.where(varies, deviation, 0.0))

    def __call__(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise `[..., hidden]`, cut at `CLIP` standard deviations."""
        return self.into(np.empty_like(array, np.float32), array)

    def into(self, out: NDArray[np.float32], array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise `[..., hidden]` into another array."""
        np.subtract(array, self._offset, out=out)
        np.multiply(out, self._factor, out=out)
        return np.clip(out, -CLIP, CLIP, out=out)

    @cached_property
    def _offset(self) -> NDArray[np.float32]:
        return self.mean.astype(np.float32)

    @cached_property
    def _factor(self) -> NDArray[np.float32]:
        varies = self.deviation > 0
        inverse = np.divide(1.0, self.deviation, out=np.zeros_like(self.deviation), where=varies)
        return inverse.astype(np.float32)

    def restore(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map standardised values back; a value without variance comes back as its mean."""
        return (array * self.deviation + self.mean).astype(np.float32)
