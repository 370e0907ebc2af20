"""A BERT written as model libraries write it, of ProteinLM's shape: what speed is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from tape_bench.models.proteinlm import ProteinLMConfig

VOCABULARY = 31


class PlainBert(nn.Module):
    """Padded rows in, one mean vector a protein out; every weight and sum in one precision."""

    def __init__(self, config: ProteinLMConfig, *, written_out: bool) -> None:
        super().__init__()
        self.heads = config.heads
        with torch.device("meta"):
            self.word = nn.Embedding(VOCABULARY, config.hidden)
            self.position = nn.Embedding(config.positions, config.hidden)
            self.layers = nn.ModuleList(
                PlainLayer(config, written_out=written_out) for _ in range(config.layers)
            )
            self.final_norm = nn.LayerNorm(config.hidden, config.layernorm_eps)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Represent rows `[batch, tokens]`: `[batch, tokens, hidden]`."""
        x = self.word(ids) + self.position(torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            x = layer(x, mask)
        return self.final_norm(x)

    def mean(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Average each row's residues, the first token left out: `[batch, hidden]`, float32."""
        residues = mask.clone()
        residues[:, 0] = 0
        total = (self(ids, mask).float() * residues[..., None]).sum(1)
        return total / residues.sum(1, keepdim=True)

    def load(self, weights: Mapping[str, Tensor]) -> Self:
        """Take our encoder's weights, query, key and value apart."""
        own = {}
        for name, weight in weights.items():
            if "attention.qkv" in name:
                by_head = weight.unflatten(0, (self.heads, 3, -1))
                for index, part in enumerate(("query", "key", "value")):
                    own[name.replace("attention.qkv", part)] = by_head[:, index].flatten(0, 1)
            elif not name.startswith("mlm_head"):
                own[name.replace("attention.dense", "dense").replace("mlp.", "")] = weight
        self.load_state_dict(own, assign=True)
        return self


class PlainLayer(nn.Module):
    """Attention and perceptron, the layer norm before each."""

    def __init__(self, config: ProteinLMConfig, *, written_out: bool) -> None:
        super().__init__()
        hidden, eps = config.hidden, config.layernorm_eps
        self.heads = config.heads
        self.form = "tanh" if config.gelu == "tanh" else "none"
        self.attend = self.attend_written_out if written_out else self.attend_by_torch
        self.attention_norm = nn.LayerNorm(hidden, eps)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.dense = nn.Linear(hidden, hidden)
        self.mlp_norm = nn.LayerNorm(hidden, eps)
        self.expand = nn.Linear(hidden, 4 * hidden)
        self.contract = nn.Linear(4 * hidden, hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Update `[batch, tokens, hidden]`."""
        normed = self.attention_norm(x)
        q, k, v = (
            linear(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear in (self.query, self.key, self.value)
        )
        x = x + self.dense(self.attend(q, k, v, mask).transpose(1, 2).flatten(-2))
        widened = functional.gelu(self.expand(self.mlp_norm(x)), approximate=self.form)
        return x + self.contract(widened)

    @staticmethod
    def attend_by_torch(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Attend under a boolean mask of keys."""
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask.bool()[:, None, None]
        )

    @staticmethod
    def attend_written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """Attend by plain products, with -10000 added where there is padding."""
        scores = q @ k.mT / q.shape[-1] ** 0.5 + (1 - mask[:, None, None].to(q.dtype)) * -10000
        return scores.softmax(-1) @ v
