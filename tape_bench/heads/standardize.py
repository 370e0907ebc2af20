"""Channels brought to one scale, as the training split has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CLIP = 10.0
"""Standard deviations beyond which a standardised value is cut. A letter that one residue in a
hundred thousand has would otherwise weigh 300, and its products 100 000."""


BLOCK = 256
"""Rows that are measured at once."""


@dataclass(frozen=True)
class Scaling:
    """Mean and standard deviation of each channel, `[hidden]`."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    """0 for a channel that does not vary; such a channel is 0 once standardised."""

    @classmethod
    def of(cls, arrays: Iterable[NDArray[np.float32]]) -> Self:
        """Measure arrays `[rows, hidden]` one after the other; only a block is in memory."""
        count = 0
        mean: NDArray[np.float64] = np.zeros(1)
        squares: NDArray[np.float64] = np.zeros(1)
        for block in _blocks(arrays):
            rows = torch.from_numpy(block)
            own_mean = rows.mean(dim=0)
            own_squares = rows.sub_(own_mean).square_().sum(dim=0).numpy()
            apart = own_mean.numpy() - mean
            count += len(rows)
            # Chan, Golub & LeVeque (1979): exact merging, no difference of large sums.
            mean = mean + apart * (len(rows) / count)
            squares = squares + own_squares + apart**2 * (len(rows) * (count - len(rows)) / count)
        deviation = np.sqrt(squares / max(count, 1))
        varies = deviation > np.abs(mean) * np.finfo(np.float32).eps
        return cls(mean, np.where(varies, deviation, 0.0))

    def __call__(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise `[..., hidden]`, cut at `CLIP` standard deviations."""
        return self.into(np.empty_like(array, np.float32), array)

    def into(self, out: NDArray[np.float32], array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardise `[..., hidden]` into another array."""
        np.copyto(out, array)
        torch.from_numpy(out).sub_(self._offset).mul_(self._factor).clamp_(-CLIP, CLIP)
        return out

    @cached_property
    def _offset(self) -> Tensor:
        return torch.from_numpy(self.mean.astype(np.float32))

    @cached_property
    def _factor(self) -> Tensor:
        varies = self.deviation > 0
        inverse = np.divide(1.0, self.deviation, out=np.zeros_like(self.deviation), where=varies)
        return torch.from_numpy(inverse.astype(np.float32))

    def restore(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map standardised values back; a value without variance comes back as its mean."""
        return (array * self.deviation + self.mean).astype(np.float32)


def _blocks(arrays: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of arrays in float64, in blocks that stay in the processor's cache.

    Each block is overwritten by the next.
    """
    block: NDArray[np.float64] | None = None
    filled = 0
    for array in arrays:
        if block is None:
            block = np.empty((BLOCK, array.shape[1]))
        begin = 0
        while begin < len(array):
            taken = array[begin : begin + BLOCK - filled]
            block[filled : filled + len(taken)] = taken
            begin, filled = begin + len(taken), filled + len(taken)
            if filled == BLOCK:
                yield block
                filled = 0
    if block is not None and filled:
        yield block[:filled]
