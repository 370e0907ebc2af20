"""Tensor parallelism: several processes compute one network, each a part of every layer.

The split is Megatron's. A rank computes some of the attention heads and some of the perceptron's
channels as if there were no others; what comes out is its part of a sum over all ranks. These two
sums a layer are all that ranks tell each other: embeddings, layer norms, residual stream and
vocabulary every rank has and computes by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, distributed

from tape_bench.errors import ModelError, PeerLostError


def _same(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class TensorParallel:
    """Which of the ranks that compute a network together this process is.

    All of them must run the same batches in the same order.
    """

    rank: int = 0
    size: int = 1
    all_reduce: Callable[[Tensor], Tensor] = _same
    """Sum a tensor over all ranks, to the same bits on each; may overwrite its argument."""

    @classmethod
    def of(cls, group: distributed.ProcessGroup | None = None) -> TensorParallel:
        """Take this process's place in a process group; None for all processes there are."""
        rank, size = distributed.get_rank(group), distributed.get_world_size(group)
        return cls(rank, size, partial(_all_reduce, group)) if size > 1 else ALONE

    def share(self, heads: int) -> int:
        """Tell how many of a layer's heads a rank has; the perceptron's channels divide likewise.

        Raises:
            ModelError: the ranks' shares would not be equal.
        """
        if heads % self.size:
            divisors = ", ".join(str(size) for size in range(1, heads + 1) if heads % size == 0)
            raise ModelError(
                f"{heads} heads cannot be shared equally by {self.size} tensor-parallel ranks",
                fix=f"choose a tensor-parallel size that divides {heads}: {divisors}",
            )
        return heads // self.size

    def add_up(self, part: Tensor) -> Tensor:
        """Sum the ranks' parts `[..., hidden]`, at least in float32.

        Raises:
            PeerLostError: another rank is gone.
        """
        if self.size == 1:
            return part
        # The sum does not carry gradients back, and would not say so.
        assert not part.requires_grad
        # Megatron sums in half precision, which adds a rounding for each rank: over 36 layers the
        # error of float16 grows by 17 % with 2 ranks and 64 % with 8 (bfloat16 alike). Summed in
        # float32 and handed to the float32 stream so, it stays that of one process. On a CPU it
        # costs nothing; a GPU sends twice the bytes, and is faster with data parallelism anyway.
        return self.all_reduce(part.to(torch.promote_types(part.dtype, torch.float32)))

    def least(self, number: int) -> int:
        """Return the smallest of the numbers that the ranks bring, as of tokens that fit.

        Raises:
            PeerLostError: another rank is gone.
        """
        if self.size == 1:
            return number
        brought = torch.zeros(self.size, dtype=torch.int64)
        brought[self.rank] = number
        return int(self.all_reduce(brought).min())


ALONE = TensorParallel()
"""The whole network in one process."""


def _all_reduce(group: distributed.ProcessGroup | None, tensor: Tensor) -> Tensor:
    try:
        distributed.all_reduce(tensor, group=group)
    except RuntimeError as error:
        raise PeerLostError(
            f"a process that computes a part of the model is gone: {error}",
            fix="its own message tells why; run again to go on from what was finished",
        ) from error
    return tensor
