"""Rotary positions: queries and keys are turned by angles that grow with their tokens' places.

Source: RoFormer (Su et al. 2021), in the order of channels that ESM-2 has: the first half of a head
is turned with the second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tape_bench.models.transformer.attend import Attend

BASE = 10_000.0


def turned(attend: Attend, positions: Tensor, head: int) -> Attend:
    """Return an attention that turns queries and keys first.

    Args:
        attend: how tokens attend.
        positions: place of each token in its sequence, `[..., tokens]`.
        head: channels of a head.
    """
    exponents = torch.arange(0, head, 2, dtype=torch.float32, device=positions.device) / head
    angles = positions[..., None].float() / BASE**exponents
    # One for all heads, which come between tokens and channels.
    cos, sin = angles.cos().unsqueeze(-2), angles.sin().unsqueeze(-2)

    def attend_turned(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend(turn(query, cos, sin), turn(key, cos, sin), value)

    return attend_turned


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of channels `[..., heads, head]` by angles `[..., 1, head / 2]`, in float32."""
    first, second = x.float().chunk(2, dim=-1)
    whole = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    half = first.shape[-1]
    whole[..., :half] = torch.addcmul(first * cos, second, sin, value=-1)
    whole[..., half:] = torch.addcmul(second * cos, first, sin)
    return whole
