"""The contact head of ProteinLM's TAPE fork: a residual network over the map of all pairs.

Its first layer, a 1x1 convolution over products and differences of channels, is computed by
`kernels.pair_scores`, so that the `[residues, residues, 2 hidden]` features are never written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tape_bench import kernels
from tape_bench.heads.pair import DROPOUT, PairHead, begin_at

WIDTH = 64
"""Channels of a pair."""

BLOCKS = 30

REMEMBERED = 256**2
"""Pairs up to which training keeps what every layer computed, 31 kB a pair."""


class PairResNet(PairHead):
    """Products and differences, a 1x1 convolution to 64 channels, 30 residual blocks, two scores.

    With a mask, padding is zero before each convolution, exactly as beyond a chain's end, and
    batch norm counts real pairs only: in evaluation a protein's scores do not depend on its
    batch. As published there is no mask: padding enters the convolutions and the batch norm.

    In training the fork drops half of all features, for each pair anew. Here a channel is
    dropped for all pairs of a protein together. What one pair's 64 channels are is distributed
    as in the fork; but neighbouring pairs no longer differ in what they lack, so the
    convolutions cannot average the noise out, and dropout regularises more than published.

    Parameters have the fork's names. Special tokens, which the fork removes from its scores, are
    not seen at all.
    """

    def __init__(self, hidden: int, as_published: bool = False) -> None:
        """Map `hidden` products and as many differences to two scores."""
        super().__init__()
        self.as_published = as_published
        blocks = {f"ResidualBlock{number}": ResidualBlock() for number in range(BLOCKS)}
        self.predict = nn.ModuleDict({"1": nn.Conv2d(2 * hidden, WIDTH, 1), **blocks})
        self.linear = nn.ModuleDict({"0": nn.Linear(WIDTH, 2)})

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the contact logits of all pairs.

        Args:
            x: representations, `[..., residues, hidden]`.
            mask: True at real residues, `[..., residues]`; None where all are.

        Returns:
            `[..., residues, residues]`; those of padding mean nothing.
        """
        proteins = x.flatten(0, -3) if x.ndim > 2 else x[None]
        real = None
        if mask is not None and not self.as_published:
            rows = mask.reshape(proteins.shape[:2])
            real = rows[:, :, None] & rows[:, None, :]
        pairs = torch.stack([self.first_stage(protein) for protein in proteins])
        # Channels last is how convolutions like their input: none is laid out anew for them.
        pairs = pairs.contiguous(memory_format=torch.channels_last)
        if real is not None:
            pairs = pairs * real[:, None]
        for block in self._blocks:
            pairs = block.sparing(pairs, real) if self.training else block(pairs, real)
        # Of two classes only the difference of their scores matters to the probability.
        last = self._last
        weight, bias = last.weight.diff(dim=0).squeeze(0), last.bias.diff()
        logits = pairs.movedim(1, -1) @ weight + bias
        return ((logits + logits.mT) / 2).view(*x.shape[:-1], x.shape[-2])

    def first_stage(self, x: Tensor) -> Tensor:
        """Return the 64 channels of every pair of one protein, `[64, residues, residues]`."""
        layer = self.predict["1"]
        assert isinstance(layer, nn.Conv2d)
        weight = layer.weight.flatten(1)
        if self.training:
            weight = weight * functional.dropout(weight.new_ones(weight.shape[1]), DROPOUT)
        product, difference = weight.chunk(2, dim=1)
        return kernels.pair_scores(x, product, difference, layer.bias)

    def start_at(self, rate: float) -> None:
        """Begin at the share of pairs that are in contact, so that training need not find it."""
        begin_at(self._last, rate)

    @property
    def _blocks(self) -> Iterator[ResidualBlock]:
        for block in self.predict.values():
            if isinstance(block, ResidualBlock):
                yield block

    @property
    def _last(self) -> nn.Linear:
        layer = self.linear["0"]
        assert isinstance(layer, nn.Linear)
        return layer


def as_published(hidden: int) -> PairResNet:
    """Return the head that lets padding in, as the fork does."""
    return PairResNet(hidden, as_published=True)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each batch-normalised, added to what came in."""

    def __init__(self) -> None:
        """Map 64 channels to 64."""
        super().__init__()
        self.conv1 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.conv2 = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(WIDTH)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """Map `[proteins, 64, residues, residues]`, zero where no pair is real, to the same."""
        # No name is given to the first normalised map, so that it goes before the next is made.
        inner = self.conv2(_normalise(self.bn1, self.conv1(x), real).relu_())
        return _normalise(self.bn2, inner, real).add_(x).relu_()

    def sparing(self, x: Tensor, real: Tensor | None) -> Tensor:
        """Do the same; of a large map keep only `x`, and compute the rest again for gradients."""
        if x[:, 0].numel() <= REMEMBERED:
            result: Tensor = self(x, real)
        else:
            result = checkpoint(
                self,
                x,
                real,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=self._contexts,
            )
        return result

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self._statistics_kept()

    @contextmanager
    def _statistics_kept(self) -> Iterator[None]:
        # Batch norm has counted this batch already, the first time.
        momentum = self.bn1.momentum
        self.bn1.momentum = self.bn2.momentum = 0.0
        try:
            yield
        finally:
            self.bn1.momentum = self.bn2.momentum = momentum


def _normalise(norm: nn.BatchNorm2d, x: Tensor, real: Tensor | None) -> Tensor:
    """Normalise each channel over the real pairs of all proteins; elsewhere return zero."""
    assert norm.momentum is not None
    by_pair = x.movedim(1, -1)
    normed = functional.batch_norm(
        x if real is None else by_pair[real],
        norm.running_mean,
        norm.running_var,
        norm.weight,
        norm.bias,
        norm.training,
        norm.momentum,
        norm.eps,
    )
    if real is None:
        return normed
    spread = torch.zeros_like(x)
    spread.movedim(1, -1)[real] = normed
    return spread
