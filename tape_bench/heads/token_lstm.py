"""A head for residues that reads the whole chain: a bidirectional LSTM of two layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LAYERS = 2
WIDTH = 64
"""Units of a layer in each direction."""
DROPOUT = 0.1
"""Share of what passes from one layer to the next, and to the scores, left out in training."""


class TokenLSTM(nn.Module):
    """Score each residue by all that stands before it and all that stands after it.

    The recurrent part of TAPE's NetsurfModel, narrower (1024 units there) and without its two
    convolutions over 129 and 257 residues.

    Each direction is a network of its own that runs over padded proteins, the backward one over
    proteins turned round within their length, so that padding only ever comes last and nothing
    of it reaches a residue: a protein's scores do not depend on its batch. (PyTorch's packed
    sequences do the same, but five to ten times slower on a CPU: they miss oneDNN's LSTM.)
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        """Map `hidden` channels by way of twice `WIDTH` to `outputs` scores a residue."""
        super().__init__()
        inputs = [hidden, *[2 * WIDTH] * (LAYERS - 1)]
        self.forwards = nn.ModuleList(nn.LSTM(size, WIDTH) for size in inputs)
        self.backwards = nn.ModuleList(nn.LSTM(size, WIDTH) for size in inputs)
        self.dropout = nn.Dropout(DROPOUT)
        self.scores = nn.Linear(2 * WIDTH, outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score residues.

        Args:
            x: representations, `[proteins, residues, hidden]`.
            mask: True at real residues, which come before padding, `[proteins, residues]`; None
                where all are real.

        Returns:
            Scores, `[proteins, residues, outputs]`; those of padding mean nothing.
        """
        along = x.transpose(0, 1)
        turned = _turned(x.shape[1], x.new_ones(x.shape[:2]) if mask is None else mask)
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            before, _ = forwards(along)
            after, _ = backwards(along.take_along_dim(turned, dim=0))
            along = self.dropout(torch.cat([before, after.take_along_dim(turned, dim=0)], dim=-1))
        scores: Tensor = self.scores(along)
        return scores.transpose(0, 1)


def _turned(residues: int, mask: Tensor) -> Tensor:
    """Return where to take each residue from to turn proteins round, `[residues, proteins, 1]`.

    Padding stays where it is, so turning twice changes nothing.
    """
    lengths = mask.sum(dim=1).long()
    place = torch.arange(residues, device=mask.device).unsqueeze(1)
    return torch.where(place < lengths, lengths - 1 - place, place).unsqueeze(-1)
