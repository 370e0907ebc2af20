"""A network to be trained: sequences in, states out that gradients go back through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tape_bench.errors import CheckpointError

LORA_MAPS = ("query", "key", "value", "output", "expand", "contract")
"""Linear maps of a block that low ranks can be added to: those of attention, its output, and the
two of the perceptron (three, where it is gated)."""


class States(NamedTuple):
    """What a network makes of sequences."""

    residues: Tensor
    """`[residues of all sequences, hidden]`, end to end, special tokens left out."""
    first: Tensor | None
    """What pool `first` is, `[sequences, hidden]`; None for a model that has no first token."""


@dataclass(frozen=True)
class LinearMap:
    """A linear map of a block, or three that are kept in one weight."""

    module: nn.Module
    parts: Mapping[str, str]
    """What it is, see `LORA_MAPS`, and what its published weights are called. Of three in one
    weight, rows lie `[heads, part, head]`."""
    heads: int = 1
    """Heads of attention, where there are three parts."""


class TrainableNetwork(nn.Module, ABC):
    """A copy of a model's network with float32 weights of its own, which may be changed."""

    hidden: int
    """Width of a state."""
    special_tokens: int
    """Tokens added to each sequence."""
    pads: bool
    """Whether sequences computed together are padded to the longest."""

    @abstractmethod
    def forward(self, sequences: Sequence[str]) -> States:
        """Represent sequences.

        Raises:
            ModelError: a sequence is empty, too long, or has letters outside the vocabulary.
        """

    @abstractmethod
    def tokens(self, sequences: Sequence[str]) -> list[Tensor]:
        """Return the states of all tokens, special ones too, `[tokens, hidden]` a sequence."""

    @property
    @abstractmethod
    def weights(self) -> nn.Module:
        """The network itself; what `Trainable.retrained` takes has the names of its parameters."""

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks that sequences go through, first to last."""

    @property
    @abstractmethod
    def below(self) -> Sequence[nn.Parameter]:
        """The weights that stand before the blocks: embeddings, and a norm over them."""

    @abstractmethod
    def linear_maps(self) -> Iterator[LinearMap]:
        """Yield the linear maps of the blocks, in order."""


@torch.no_grad()
def replace_weights(network: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put trained weights in the place of a network's own, in the precision that it has.

    Raises:
        CheckpointError: it has no such weights, or they are of another shape.
    """
    own = dict(network.named_parameters())
    for name, weight in weights.items():
        if name not in own or own[name].shape != weight.shape:
            there = f"of shape {list(own[name].shape)}" if name in own else "none of this name"
            raise CheckpointError(
                f"the trained weight {name} has the shape {list(weight.shape)}, and the model has "
                f"{there}",
                where=where,
                fix="it was trained from another model: give the base that it was trained from",
            )
        own[name].copy_(weight)
