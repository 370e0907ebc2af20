"""Processes that train one network together, each on its part of every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from tape_bench.errors import PeerLostError


@dataclass(frozen=True)
class Team:
    """This process among those that train together; all of them must ask the same things."""

    rank: int = 0
    size: int = 1

    @classmethod
    def of_all(cls) -> Self:
        """Take this process's place among all that are connected."""
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """True for the one that writes what the team has done."""
        return self.rank == 0

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sum over all processes, the same bits for each, in the place of each tensor.

        Raises:
            PeerLostError: another process is gone.
        """
        if self.size == 1:
            return
        # One sum for all tensors of a kind: hundreds of small ones would wait for each other.
        for _, group in groupby(tensors, key=lambda one: (one.dtype, one.device)):
            alike = list(group)
            flat = torch.cat([one.flatten() for one in alike])
            self._sum(flat)
            for one, summed in zip(alike, flat.split([one.numel() for one in alike]), strict=True):
                one.copy_(summed.view_as(one))

    def total(self, *numbers: float) -> list[float]:
        """Return the sums of numbers over all processes."""
        if self.size == 1:
            return list(numbers)
        told = torch.tensor(numbers, dtype=torch.float64)
        self._sum(told)
        return [float(one) for one in told]

    def whole(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an array of which each process has filled a part, zero elsewhere."""
        if self.size == 1:
            return part
        told = torch.from_numpy(np.ascontiguousarray(part))
        self._sum(told)
        whole: NDArray[Any] = told.numpy()
        return whole

    def _sum(self, tensor: Tensor) -> None:
        try:
            distributed.all_reduce(tensor)
        except RuntimeError as error:
            raise PeerLostError(
                "another process that trains with this one is gone",
                fix="its own message says why; run again to go on from what was kept",
            ) from error
