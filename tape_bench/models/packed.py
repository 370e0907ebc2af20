"""Sequences end to end through a transformer: laid out in one go, queued, fetched when needed.

A GPU computes what it is given while the host goes on. So what a launch needs goes there in one
copy, and what comes of it is copied back beside the launches that follow; the host waits only when
it asks for the vectors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Layout(NamedTuple):
    """Token ids of sequences that lie end to end, special tokens too, where they are computed."""

    ids: Tensor
    """`[tokens]`, int32."""
    positions: Tensor
    """Place of each token in its sequence, from 0, `[tokens]`, int32."""
    offsets: Tensor
    """Where each sequence begins, and at last where all end, `[sequences + 1]`, int32."""
    lengths: NDArray[np.int64]
    """Tokens of each sequence, on the host."""

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence."""
        return int(self.lengths.max())

    @classmethod
    def of(
        cls,
        ids: NDArray[np.int64],
        lengths: NDArray[np.int64],
        device: torch.device,
        *,
        before: tuple[int, ...] = (),
        after: tuple[int, ...] = (),
    ) -> Self:
        """Lay sequences out, and put special tokens around each.

        Args:
            ids: token ids of all sequences, end to end, `[residues of all]`.
            lengths: residues of each.
            device: where they are computed.
            before: ids of the special tokens before each sequence.
            after: ids of those after it.
        """
        special = len(before) + len(after)
        tokens = lengths + special
        ends = np.cumsum(tokens)
        starts, total, count = ends - tokens, int(ends[-1]), len(tokens)
        # One buffer, so that one copy takes everything along.
        buffer = torch.empty(2 * total + count + 1, dtype=torch.int32, pin_memory=_pins(device))
        laid = buffer.numpy()
        # Offsets come first: kernels read them faster where they begin at a round address.
        offsets, row, positions = np.split(laid, [count + 1, count + 1 + total])
        if special:
            residues = np.ones(total, bool)
            for place, token in enumerate(before):
                row[starts + place] = token
                residues[starts + place] = False
            for place, token in enumerate(reversed(after)):
                row[ends - 1 - place] = token
                residues[ends - 1 - place] = False
            row[residues] = ids
        else:
            row[:] = ids
        positions[:] = np.arange(total, dtype=np.int32) - np.repeat(starts, tokens)
        offsets[0], offsets[1:] = 0, ends
        there = buffer.to(device, non_blocking=True)
        bounds, tokens_there, places = there.split([count + 1, total, total])
        return cls(tokens_there, places, bounds, tokens)


def fetch(values: Mapping[str, Tensor]) -> Callable[[], dict[str, NDArray[Any]]]:
    """Begin to copy tensors to the host, and return what waits for them.

    Nothing that is queued afterwards waits for the copy.
    """
    found = {name: _narrowed(tensor) for name, tensor in values.items()}
    device = next(iter(found.values())).device
    if device.type != "cuda":
        return lambda: {name: tensor.numpy() for name, tensor in found.items()}
    beside = _copies(device)
    beside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(beside):
        host = {}
        for name, tensor in found.items():
            host[name] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            host[name].copy_(tensor, non_blocking=True)
            # Its memory must not be given to others before it is copied.
            tensor.record_stream(beside)
        arrived = torch.cuda.Event()
        arrived.record(beside)

    def wait() -> dict[str, NDArray[Any]]:
        arrived.synchronize()
        return {name: tensor.numpy() for name, tensor in host.items()}

    return wait


def finite_tokens(rows: Tensor) -> Tensor:
    """Tell which tokens' rows are finite, `[tokens]`.

    One pass where looking at each number takes four: what is not finite makes the sum so, too.
    """
    return rows.sum(-1).isfinite()


def finite_sequences(finite: NDArray[np.bool_], lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell which sequences have finite tokens only, `[sequences]`."""
    found: NDArray[np.bool_] = np.logical_and.reduceat(finite, np.cumsum(lengths) - lengths)
    return found


def _narrowed(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _pins(device: torch.device) -> bool:
    """Tell whether memory is to be set aside that a GPU copies from without the processor."""
    return device.type == "cuda"


@functools.cache
def _copies(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of a device that copies go through, beside computation."""
    return torch.cuda.Stream(device)
