"""A transformer on the packed path while it is trained: without padding there, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tape_bench.models.packed import Layout
from tape_bench.models.trainable import LinearMap, States, TrainableNetwork
from tape_bench.models.transformer.blocks import Layer
from tape_bench.models.transformer.encoder import Encoder

_QKV = ("query", "key", "value")


class PackedNetwork(TrainableNetwork):
    """The encoder of a `PackedTransformer`, without its masked-language-model head."""

    pads = False

    def __init__(
        self,
        encoder: Encoder,
        lay_out: Callable[[Sequence[str]], Layout],
        published: Mapping[str, tuple[str, ...]],
        model: Any,
    ) -> None:
        """Make an encoder trainable.

        Args:
            encoder: on its device, in float32.
            lay_out: tokens of sequences, end to end.
            published: see `PackedTransformer.published`.
            model: what says the layer, and the special tokens.
        """
        super().__init__()
        encoder.mlm_head = None
        self.encoder = encoder.requires_grad_(True)
        self.hidden = model.shape.hidden
        self.special_tokens = model.special_tokens
        self._lay_out, self._published = lay_out, published
        self._depth: int | None = model.layer
        self._before, self._after = len(model.before), len(model.after)
        for unread in [*self.encoder.layers][len(self.blocks) :]:
            unread.requires_grad_(False)

    def forward(self, sequences: Sequence[str]) -> States:
        """Represent sequences; see `TrainableNetwork`."""
        layout = self._lay_out(sequences)
        rows = self.encoder.forward_laid_out(layout, self._depth)
        inside = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        starts, ends = layout.offsets[:-1].long(), layout.offsets[1:].long()
        for place in range(self._before):
            inside[starts + place] = False
        for place in range(self._after):
            inside[ends - 1 - place] = False
        return States(rows[inside], rows[starts] if self._before else None)

    def tokens(self, sequences: Sequence[str]) -> list[Tensor]:
        """Return the states of all tokens; see `TrainableNetwork`."""
        layout = self._lay_out(sequences)
        rows = self.encoder.forward_laid_out(layout, self._depth)
        return list(rows.split(layout.lengths.tolist()))

    @property
    def weights(self) -> nn.Module:
        """The encoder."""
        return self.encoder

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """The layers that are gone through."""
        return list(self.encoder.layers)[: self._depth]

    @property
    def below(self) -> Sequence[nn.Parameter]:
        """The tables of words, places and types, and a norm over their sum."""
        behind = ("layers.", "final_norm.")
        named = self.encoder.named_parameters()
        return [weight for name, weight in named if not name.startswith(behind)]

    def linear_maps(self) -> Iterator[LinearMap]:
        """Yield the linear maps of the layers, in order."""
        for number, block in enumerate(self.blocks):
            layer, place = cast(Layer, block), f"layers.{number}"
            for ours, module, parts in (
                ("attention.qkv", layer.attention.qkv, _QKV),
                ("attention.dense", layer.attention.dense, ("output",)),
                ("mlp.expand", layer.mlp.expand, ("expand",)),
                ("mlp.contract", layer.mlp.contract, ("contract",)),
            ):
                name = f"{place}.{ours}"
                own = (name,) if len(parts) == 1 else tuple(f"{name}.{part}" for part in parts)
                called = self._published.get(name, own)
                heads = layer.attention.heads if len(parts) > 1 else 1
                yield LinearMap(module, dict(zip(parts, called, strict=True)), heads)
