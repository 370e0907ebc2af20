"""A linear head that is trained step by step, as where the encoder is trained with it."""

from __future__ import annotations

from torch import Tensor, nn


class Linear(nn.Module):
    """One linear map of each vector."""

    def __init__(self, hidden: int, outputs: int) -> None:
        """Map `hidden` channels to `outputs` scores."""
        super().__init__()
        self.scores = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score `[..., hidden]` as `[..., outputs]`, each vector by itself.

        Args:
            x: representations of proteins or of residues.
            mask: True at real residues; scores of padding mean nothing.
        """
        scores: Tensor = self.scores(x)
        return scores


class MLP(nn.Module):
    """Linear, ReLU, linear, of each vector."""

    def __init__(self, hidden: int, outputs: int, width: int | None = None) -> None:
        """Map `hidden` channels by way of `width`, or of as many, to `outputs` scores."""
        super().__init__()
        self.inner = nn.Linear(hidden, width or hidden)
        self.scores = nn.Linear(width or hidden, outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score `[..., hidden]` as `[..., outputs]`; see `Linear`."""
        scores: Tensor = self.scores(self.inner(x).relu())
        return scores


def mlp128(hidden: int, outputs: int) -> MLP:
    """Make an `MLP` of 128 units."""
    return MLP(hidden, outputs, 128)
