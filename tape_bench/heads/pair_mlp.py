"""The contact head of ProteinLM's Megatron code: a two-layer network on each pair.

Its first layer maps two residues' representations end to end, which is one layer on each residue
and a sum. So only the tanh must be taken of every pair, and that tile by tile: nothing of the size
`[residues, residues, hidden]` is ever made, nor kept for the gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tape_bench.heads.pair import PairHead, begin_at

DROPOUT = 0.1
"""Share of hidden units dropped in training; Megatron's default."""

INITIAL_DEVIATION = 0.02
"""Of the first weights; Megatron's default."""

TILE = 16
"""Residues on a side of a tile; with 2560 channels it stays in a processor's cache."""


class PairMLP(PairHead):
    """Linear, tanh, dropout and two scores on `[h_j ; h_i]`, made symmetric.

    In training Megatron drops a tenth of the hidden units, for each ordered pair anew. Here a
    unit is dropped for all pairs of a protein together, once for those above the diagonal and
    once for those below. So the score of a pair, the mean of both directions, is distributed as
    in Megatron, and the expected loss is the same; only its noise is larger.

    Parameters have Megatron's names. Special tokens are not seen at all.
    """

    def __init__(self, hidden: int) -> None:
        """Map two residues' `hidden` channels by way of `hidden` units to two scores."""
        super().__init__()
        layers = {"0": nn.Linear(2 * hidden, hidden), "3": nn.Linear(hidden, 2)}
        for layer in layers.values():
            nn.init.normal_(layer.weight, std=INITIAL_DEVIATION)
            nn.init.zeros_(layer.bias)
        self.classifier = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return contact logits `[..., residues, residues]` for `x` `[..., residues, hidden]`."""
        first, last = self._layers
        of_j, of_i = first.weight.chunk(2, dim=1)
        across = functional.linear(x, of_j)
        down = functional.linear(x, of_i, first.bias)
        # Of two classes only the difference of their scores matters to the probability.
        weight = last.weight.diff(dim=0)
        if self.training:
            weight = functional.dropout(torch.ones_like(weight).expand(2, -1), DROPOUT) * weight
            above, below = tanh_scores(down, across, weight).unbind(-1)
            scores = above.triu() + below.tril(-1)
        else:
            scores = tanh_scores(down, across, weight).squeeze(-1)
        return (scores + scores.mT) / 2 + last.bias.diff()

    def start_at(self, rate: float) -> None:
        """Begin at the share of pairs that are in contact, so that training need not find it."""
        begin_at(self._layers[1], rate)

    @property
    def _layers(self) -> tuple[nn.Linear, nn.Linear]:
        first, last = self.classifier.values()
        assert isinstance(first, nn.Linear)
        assert isinstance(last, nn.Linear)
        return first, last


def tanh_scores(down: Tensor, across: Tensor, weight: Tensor) -> Tensor:
    """Score all pairs by weight . tanh(down_i + across_j), in memory of the order of the scores.

    Args:
        down: what a residue brings as the first of a pair, `[..., residues, hidden]`.
        across: what it brings as the second, `[..., residues, hidden]`.
        weight: `[scores, hidden]`.

    Returns:
        `[..., residues, residues, scores]`.
    """
    scores: Tensor = _TanhScores.apply(down, across, weight)  # type: ignore[no-untyped-call]
    return scores


class _TanhScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, down: Tensor, across: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(down, across, weight)
        scores = down.new_empty((*down.shape[:-1], down.shape[-2], len(weight)))
        for i, j in _tiles(down.shape[-2]):
            scores[..., i, j, :] = _tanh(down, across, i, j) @ weight.T
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        down, across, weight = ctx.saved_tensors
        by_down, by_across, by_weight = map(torch.zeros_like, (down, across, weight))
        for i, j in _tiles(down.shape[-2]):
            of_pair = gradient[..., i, j, :]
            tanh = _tanh(down, across, i, j)
            by_weight += of_pair.flatten(0, -2).T @ tanh.flatten(0, -2)
            slope = tanh.square_().neg_().add_(1).mul_(of_pair @ weight)
            by_down[..., i, :] += slope.sum(-2)
            by_across[..., j, :] += slope.sum(-3)
        return by_down, by_across, by_weight


def _tanh(down: Tensor, across: Tensor, i: slice, j: slice) -> Tensor:
    return (down[..., i, None, :] + across[..., None, j, :]).tanh_()


def _tiles(residues: int) -> Iterator[tuple[slice, slice]]:
    sides = [slice(first, first + TILE) for first in range(0, residues, TILE)]
    return ((i, j) for i in sides for j in sides)
