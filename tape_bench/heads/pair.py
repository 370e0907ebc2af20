"""Contact heads: a score for each pair of residues, from products of their representations.

Written out, the features of all pairs fill `[residues, residues, 2 hidden]`;
`kernels.pair_scores` makes nothing larger than the contact map itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from tape_bench import kernels

DROPOUT = 0.5
"""Share of features TAPE drops in training."""


class PairHead(nn.Module, ABC):
    """A head that maps representations `[..., residues, hidden]` to logits of contact."""

    @abstractmethod
    def start_at(self, rate: float) -> None:
        """Begin at the share of pairs that are in contact, so that training need not find it."""


class PairProductDifference(PairHead):
    """TAPE's contact head: products and differences, one linear layer, made symmetric.

    The difference of a pair changes sign when the pair is turned round, so in the symmetric
    score it cancels; that half of the layer is kept only to hold TAPE's weights.

    In training TAPE drops half of all features, for each pair anew. Here a product channel is
    dropped for all pairs of a protein together, with the distribution that a symmetric pair of
    TAPE's masks has ((m_ij + m_ji) / 2). The expected loss is the same, for it is a sum over
    pairs; only its noise is larger. In TAPE's training the differences are noise of mean zero,
    and as the loss is convex, best ignored: here they are.
    """

    def __init__(self, hidden: int) -> None:
        """Map `hidden` products and as many differences to two scores."""
        super().__init__()
        self.hidden = hidden
        self.predict = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(2 * hidden, 2))

    def class_logits(self, x: Tensor) -> Tensor:
        """Return the scores of `no contact` and `contact`, `[..., residues, residues, 2]`."""
        weight, bias = self._layer
        return kernels.pair_scores(x, weight[:, : self.hidden], bias=bias).movedim(-3, -1)

    def forward(self, x: Tensor) -> Tensor:
        """Return contact logits `[..., residues, residues]` for `x` `[..., residues, hidden]`.

        Of two classes only the difference of their scores matters to the probability.
        """
        weight, bias = (layer.diff(dim=0) for layer in self._layer)
        products = weight[:, : self.hidden]
        if self.training:
            masks = functional.dropout(torch.ones_like(products).expand(2, -1), DROPOUT)
            products = products * masks.mean(dim=0)
        return kernels.pair_scores(x, products, bias=bias).squeeze(-3)

    @torch.no_grad()
    def start_at(self, rate: float) -> None:
        """Begin at the share of pairs that are in contact, so that training need not find it."""
        _, bias = self._layer
        bias.copy_(torch.tensor([0.0, logit(rate)]))

    @property
    def _layer(self) -> tuple[Tensor, Tensor]:
        linear = self.predict[1]
        assert isinstance(linear, nn.Linear)
        return linear.weight, linear.bias


def begin_at(layer: nn.Linear, rate: float) -> None:
    """Let a last layer of two scores, `no contact` and `contact`, say the same of every pair."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([0.0, logit(rate)]))


def logit(rate: float) -> float:
    """Return the logit of a share, kept finite for shares of 0 and 1."""
    return float(torch.logit(torch.tensor(rate), eps=1e-4))
