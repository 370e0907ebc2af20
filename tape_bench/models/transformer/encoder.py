"""ProteinLM's network: a BERT with the layer norm before each block, and one after the last.

Other models are variations on it, see `esm` and `bert` beside it.

All layers see `[..., tokens, hidden]`, so padded `[batch, tokens]` rows and packed `[tokens]`
sequences differ only in the `attend` function handed down to attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tape_bench import kernels
from tape_bench.kernels.bias_gelu import Gelu
from tape_bench.models.packed import Layout
from tape_bench.models.transformer.attend import (
    Attend,
    Totals,
    attend_packed,
    attend_padded,
    shown,
    totals_packed,
    totals_padded,
)
from tape_bench.models.transformer.blocks import (
    Embedding,
    Layer,
    LayerNorm,
    MLMHead,
    Sum,
    widened,
)
from tape_bench.parallel.tensor import ALONE, TensorParallel


class Tokens(NamedTuple):
    """Tokens as they lie, in padded rows or end to end."""

    ids: Tensor
    """`[..., tokens]`."""
    positions: Tensor
    """Place of each in its sequence, from 0, of the same shape."""
    attend: Attend
    """How they gather from each other."""
    totals: Totals
    """How what they have is summed over a sequence."""


class Encoder(nn.Module):
    """Token ids in, one vector a token out."""

    def __init__(
        self,
        *,
        layers: int,
        hidden: int,
        heads: int,
        positions: int,
        vocabulary: int,
        layernorm_eps: float,
        gelu: Gelu,
        inner: int | None = None,
        head_gelu: Gelu = "erf",
        residual_after_norm: bool = False,
        normalise_output: bool = True,
        token_types: int = 0,
        mlm_head: bool = True,
        parallel: TensorParallel = ALONE,
    ) -> None:
        super().__init__()
        self.normalise_output = normalise_output
        self.word = Embedding(vocabulary, hidden)
        self.position = Embedding(positions, hidden) if positions else None
        self.token_type = Embedding(token_types, hidden) if token_types else None
        self.layers = nn.ModuleList(
            Layer(
                hidden,
                heads,
                inner or 4 * hidden,
                layernorm_eps,
                gelu,
                residual_after_norm,
                parallel,
            )
            for _ in range(layers)
        )
        self.final_norm = LayerNorm(hidden, layernorm_eps)
        self.mlm_head = MLMHead(hidden, vocabulary, layernorm_eps, head_gelu) if mlm_head else None

    def forward(self, ids: Tensor, mask: Tensor | None = None, depth: int | None = None) -> Tensor:
        """Represent padded rows.

        Args:
            ids: token ids `[batch, tokens]`.
            mask: True or 1 where a row has a token, `[batch, tokens]`; None where all have.
            depth: number of layers to go through; None for all. Fewer than all gives the
                residual stream there, which no layer norm has touched.

        Returns:
            `[batch, tokens, hidden]` in float32; rows of padding hold nothing of meaning.
        """
        return self._output(self._stream(_rows(ids, mask), depth), depth)

    def forward_packed(
        self, ids: Tensor, lengths: Sequence[int], depth: int | None = None
    ) -> Tensor:
        """Represent sequences laid end to end, without padding: same values, less work.

        Args:
            ids: token ids `[tokens of all sequences]`.
            lengths: tokens of each sequence.
            depth: as for `forward`.

        Returns:
            `[tokens of all sequences, hidden]` in float32.
        """
        return self.forward_laid_out(_lay_out(ids, lengths), depth)

    def forward_laid_out(self, layout: Layout, depth: int | None = None) -> Tensor:
        """Represent sequences laid end to end; see `forward_packed`."""
        return self._output(self._stream(_end_to_end(layout), depth), depth)

    def token_logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score every vocabulary entry at every token: `[batch, tokens, vocabulary]`, float32."""
        return self._logits(self._stream(_rows(ids, mask)))

    def token_logits_packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """Score every vocabulary entry at every packed token: `[tokens, vocabulary]`, float32."""
        return self.token_logits_laid_out(_lay_out(ids, lengths))

    def token_logits_laid_out(self, layout: Layout) -> Tensor:
        """Score every vocabulary entry at every packed token; see `token_logits_packed`."""
        return self._logits(self._stream(_end_to_end(layout)))

    def attention_maps(self, layout: Layout) -> Iterator[Tensor]:
        """Yield the attention weights of one sequence layer after layer, `[heads, tokens, tokens]`.

        Rows are the tokens that look; they sum to one. No more than one layer's are in memory.
        """
        weights: list[Tensor] = []
        tokens = _end_to_end(layout)._replace(attend=shown(weights))
        stream, branch = self._embedded(tokens)
        attend = self._placed(tokens)
        for layer in self.layers:
            stream, branch = layer(stream, branch, attend)
            yield weights.pop()

    def _stream(self, tokens: Tokens, depth: int | None = None) -> Tensor:
        stream, branch = self._embedded(tokens)
        attend = self._placed(tokens)
        for layer in self.layers[:depth]:
            stream, branch = layer(stream, branch, attend)
        return stream if branch is None else stream + branch

    def _embedded(self, tokens: Tokens) -> Sum:
        """Look tokens up, and their places."""
        assert self.position is not None
        stream = widened(self.word(tokens.ids))
        # In the precision that blocks add in, which is what the layer norm answers in.
        adding = kernels.arithmetic(self.position.weight.dtype, tokens.ids.device)
        branch: Tensor = self.position(tokens.positions).to(adding)
        if self.token_type is not None:
            stream = stream + self.token_type.weight[0]
        return stream, branch

    def _placed(self, tokens: Tokens) -> Attend:
        """Return how tokens attend, knowing their places; here embeddings say those."""
        return tokens.attend

    def _output(self, stream: Tensor, depth: int | None) -> Tensor:
        last = depth is None or depth == len(self.layers)
        output: Tensor = self.final_norm(stream) if last and self.normalise_output else stream
        return output

    def _logits(self, stream: Tensor) -> Tensor:
        # The head was trained on the normalised stream; a reading that leaves the norm out of
        # representations does not change that.
        assert self.mlm_head is not None
        logits: Tensor = self.mlm_head(self.final_norm(stream), self.word.weight)
        return logits


def _rows(ids: Tensor, mask: Tensor | None) -> Tokens:
    places = torch.arange(ids.shape[-1], device=ids.device).expand_as(ids)
    return Tokens(ids, places, attend_padded(mask), totals_padded(mask))


def _end_to_end(layout: Layout) -> Tokens:
    attend = attend_packed(layout.offsets, layout.longest)
    return Tokens(layout.ids, layout.positions, attend, totals_packed(layout.offsets))


def _lay_out(ids: Tensor, lengths: Sequence[int]) -> Layout:
    return Layout.of(ids.cpu().numpy(), np.asarray(lengths, np.int64), ids.device)
