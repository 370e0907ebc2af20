"""TAPE's transformer while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tape_bench.models.tape_bert.network import Block, TapeBert
from tape_bench.models.trainable import LinearMap, States, TrainableNetwork


class TapeBertNetwork(TrainableNetwork):
    """TAPE's transformer with its pooler, without its masked-language-model head."""

    pads = False

    def __init__(
        self,
        network: TapeBert,
        encode: Callable[[str], Sequence[int]],
        first: Callable[[TapeBert, Tensor], Tensor],
        depth: int | None,
    ) -> None:
        """Make a network trainable.

        Args:
            network: on its device, in float32.
            encode: token ids of a sequence, special tokens included.
            first: what a first token `[sequences, hidden]` is read as.
            depth: blocks to go through; None for all.
        """
        super().__init__()
        network.masked_head = None
        self.network = network.requires_grad_(True)
        self.hidden = network.words.embedding_dim
        self.special_tokens = 2
        self._encode, self._first, self._depth = encode, first, depth
        for unread in list(network.blocks)[len(self.blocks) :]:
            unread.requires_grad_(False)

    def forward(self, sequences: Sequence[str]) -> States:
        """Represent sequences; see `TrainableNetwork`."""
        apart = self.tokens(sequences)
        first = torch.stack([one[0] for one in apart])
        residues = torch.cat([one[1:-1] for one in apart])
        return States(residues, self._first(self.network, first))

    def tokens(self, sequences: Sequence[str]) -> list[Tensor]:
        """Return the states of all tokens; see `TrainableNetwork`."""
        rows = [self._encode(sequence) for sequence in sequences]
        device = self.network.words.weight.device
        ids = torch.tensor([token for row in rows for token in row], device=device)
        states: Tensor = self.network(ids, [len(row) for row in rows], self._depth)
        return list(states.split([len(row) for row in rows]))

    @property
    def weights(self) -> nn.Module:
        """The network with its pooler."""
        return self.network

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks that are gone through."""
        return list(self.network.blocks)[: self._depth]

    @property
    def below(self) -> Sequence[nn.Parameter]:
        """The tables of words, places and types, and the norm over their sum."""
        behind = ("blocks.", "pooler.")
        named = self.network.named_parameters()
        return [weight for name, weight in named if not name.startswith(behind)]

    def linear_maps(self) -> Iterator[LinearMap]:
        """Yield the linear maps of the blocks, named as in TAPE's own files."""
        for number, one in enumerate(self.blocks):
            block, place = cast(Block, one), f"encoder.layer.{number}"
            for part, module, called in (
                ("query", block.query, "attention.self.query"),
                ("key", block.key, "attention.self.key"),
                ("value", block.value, "attention.self.value"),
                ("output", block.mix, "attention.output.dense"),
                ("expand", block.widen, "intermediate.dense"),
                ("contract", block.narrow, "output.dense"),
            ):
                yield LinearMap(module, {part: f"{place}.{called}"})
