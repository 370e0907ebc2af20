"""The network behind TAPE's transformer row: a BERT that normalises after every addition.

Sequences are laid end to end, so that nothing is computed for padding: only attention needs to
know where one ends, and it takes neighbours of equal length together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, scaled_dot_product_attention

_LARGEST = 1 << 20
Size = Annotated[int, Field(ge=1, le=_LARGEST)]
"""What no size of such a network reaches is a fault of its description."""


class TapeBertConfig(BaseModel):
    """What TAPE's `config.json` says about the network; the rest of it is about training."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    vocab_size: Size
    hidden_size: Size
    num_hidden_layers: int = Field(ge=1, le=1_000)
    num_attention_heads: Size
    intermediate_size: Size
    max_position_embeddings: int = Field(ge=3, le=_LARGEST)
    type_vocab_size: Size
    layer_norm_eps: float = Field(ge=0, lt=1)
    hidden_act: str

    @field_validator("num_attention_heads")
    @classmethod
    def _heads_share_the_width(cls, heads: int, others: ValidationInfo) -> int:
        if others.data.get("hidden_size", 0) % heads:
            raise ValueError("hidden_size is not a multiple of num_attention_heads")
        return heads

    @field_validator("hidden_act")
    @classmethod
    def _gelu(cls, name: str) -> str:
        if name != "gelu":
            raise ValueError("only 'gelu', which TAPE's transformer was trained with, is known")
        return name


class TapeBert(nn.Module):
    """Embeddings, blocks, and the two small networks that read the result."""

    def __init__(self, config: TapeBertConfig, *, masked_head: bool) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.words = nn.Embedding(config.vocab_size, hidden)
        self.positions = nn.Embedding(config.max_position_embeddings, hidden)
        self.types = nn.Embedding(config.type_vocab_size, hidden)
        self.norm = nn.LayerNorm(hidden, config.layer_norm_eps)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.pooler = nn.Linear(hidden, hidden)
        self.masked_head = MaskedHead(config) if masked_head else None

    def forward(self, ids: Tensor, lengths: Sequence[int], layers: int | None = None) -> Tensor:
        """Read sequences laid end to end.

        Args:
            ids: token ids of all sequences, special tokens included, `[tokens]`.
            lengths: tokens of each sequence; equal ones side by side are computed together.
            layers: read the first so many blocks only; None for all.

        Returns:
            Hidden states `[tokens, hidden]`.
        """
        places = torch.cat([torch.arange(length, device=ids.device) for length in lengths])
        x = self.norm(self.words(ids) + self.positions(places) + self.types.weight[0])
        for block in self.blocks[:layers]:
            x = block(x, lengths)
        return x  # type: ignore[no-any-return]

    def pool(self, first: Tensor) -> Tensor:
        """Turn first tokens into the vectors that TAPE's heads read, `[sequences, hidden]`."""
        return torch.tanh(self.pooler(first))

    def logits(self, x: Tensor) -> Tensor:
        """Score every vocabulary entry at every token, `[tokens, vocabulary]`."""
        assert self.masked_head is not None
        return linear(self.masked_head(x), self.words.weight, self.masked_head.bias)


class Block(nn.Module):
    """Attention, then a two-layer network; each added to its input, then normalised."""

    def __init__(self, config: TapeBertConfig) -> None:
        super().__init__()
        hidden, wide = config.hidden_size, config.intermediate_size
        self.heads = config.num_attention_heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.mix_norm = nn.LayerNorm(hidden, config.layer_norm_eps)
        self.widen = nn.Linear(hidden, wide)
        self.narrow = nn.Linear(wide, hidden)
        self.narrow_norm = nn.LayerNorm(hidden, config.layer_norm_eps)

    def forward(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Update hidden states `[tokens, hidden]`."""
        x = self.mix_norm(x + self.mix(self.attend(x, lengths)))
        return self.narrow_norm(x + self.narrow(gelu(self.widen(x))))  # type: ignore[no-any-return]

    def attend(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Let each residue gather from the residues of its own sequence."""
        q, k, v = self.query(x), self.key(x), self.value(x)
        gathered, start = [], 0
        for length, equals in groupby(lengths):
            count = len(list(equals))
            rows = slice(start, start + count * length)
            split = (count, length, self.heads, -1)
            one = [part[rows].view(split).transpose(1, 2) for part in (q, k, v)]
            heads = scaled_dot_product_attention(*one)
            gathered.append(heads.transpose(1, 2).reshape(count * length, -1))
            start = rows.stop
        return torch.cat(gathered)


class MaskedHead(nn.Module):
    """What stands between hidden states and the tied word embeddings."""

    def __init__(self, config: TapeBertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        """Turn hidden states towards the word embeddings, `[tokens, hidden]`."""
        return self.norm(gelu(self.dense(x)))  # type: ignore[no-any-return]
