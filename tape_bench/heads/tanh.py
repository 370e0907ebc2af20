"""The heads of ProteinLM's Megatron code for residues and whole proteins: two layers and a tanh."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

DROPOUT = 0.1
"""Share of hidden units dropped in training; Megatron's default."""

INITIAL_DEVIATION = 0.02
"""Of the first weights; Megatron's default."""


class TanhMLP(nn.Module):
    """Linear, tanh, dropout, linear, as wide inside as outside.

    For proteins the first layer is what Megatron calls the pooler, of the first token's vector;
    for residues it is the head's own.
    """

    def __init__(self, hidden: int, outputs: int) -> None:
        """Map `hidden` channels by way of as many to `outputs` scores."""
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.scores = nn.Linear(hidden, outputs)
        for layer in (self.dense, self.scores):
            nn.init.normal_(layer.weight, std=INITIAL_DEVIATION)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score `[..., hidden]` as `[..., outputs]`, each vector by itself.

        Args:
            x: representations of proteins or of residues.
            mask: True at real residues; scores of padding mean nothing.
        """
        bent = functional.dropout(self.dense(x).tanh(), DROPOUT, self.training)
        scores: Tensor = self.scores(bent)
        return scores
