"""TAPE's head for whole proteins: two weight-normalised layers."""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

WIDTH = 512
"""Channels between the two layers of TAPE's heads."""

_Layer = TypeVar("_Layer", bound=nn.Module)


def one_length(layer: _Layer) -> _Layer:
    """Learn a layer's weight as a direction and one length for the whole tensor, as TAPE does.

    Weights load under the older names `weight_g` and `weight_v` too.
    """
    normed: _Layer = weight_norm(layer, dim=-1)  # -1: no dimension is kept apart
    return normed


class SequenceMLP(nn.Module):
    """TAPE's classification and value head: Linear, ReLU, Linear.

    Parameters keep TAPE's names and numbers below `main`; its dropout of 0 is left out.
    """

    def __init__(self, hidden: int, outputs: int, width: int = WIDTH) -> None:
        """Map `hidden` channels by way of `width` to `outputs` scores."""
        super().__init__()
        self.main = nn.ModuleDict(
            {
                "0": one_length(nn.Linear(hidden, width)),
                "3": one_length(nn.Linear(width, outputs)),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Score `[proteins, hidden]` as `[proteins, outputs]`."""
        scores: Tensor = self.main["3"](self.main["0"](x).relu())
        return scores


def fork(hidden: int, outputs: int) -> SequenceMLP:
    """Make the head of ProteinLM's TAPE fork: TAPE's, with twice the units between its layers."""
    return SequenceMLP(hidden, outputs, 2 * WIDTH)
