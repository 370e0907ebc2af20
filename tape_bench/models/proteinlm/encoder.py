"""ProteinLM's network: a BERT with the layer norm before each block, and one after the last.

The residual stream, layer norms and softmax are computed in float32 (float64 in a float64 model)
whatever the precision of the weights; linear maps take their input down to it. All layers see
`[..., tokens, hidden]`, so padded `[batch, tokens]` rows and packed `[tokens]` sequences differ
only in the `attend` function handed down to attention.

What a block adds to the stream is handed on beside it and added where the next layer norm reads
the sum, which one kernel does at once; position embeddings are the first to be added so.

A tensor-parallel rank has some of the heads in `Attention`, some of the channels in `MLP`, and
all of everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tape_bench import kernels
from tape_bench.models.proteinlm.attend import Attend, attend_packed, attend_padded
from tape_bench.models.proteinlm.config import Gelu
from tape_bench.models.proteinlm.tensor_parallel import ALONE, TensorParallel


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
        self.position = Embedding(positions, hidden)
        self.token_type = Embedding(token_types, hidden) if token_types else None
        self.layers = nn.ModuleList(
            Layer(hidden, heads, layernorm_eps, gelu, residual_after_norm, parallel)
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
        return self._output(self._stream(ids, _positions(ids), attend_padded(mask), depth), depth)

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
        attend = attend_packed(lengths, ids.device)
        return self._output(self._stream(ids, _positions(ids, lengths), attend, depth), depth)

    def token_logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Score every vocabulary entry at every token: `[batch, tokens, vocabulary]`, float32."""
        return self._logits(self._stream(ids, _positions(ids), attend_padded(mask)))

    def token_logits_packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """Score every vocabulary entry at every packed token: `[tokens, vocabulary]`, float32."""
        attend = attend_packed(lengths, ids.device)
        return self._logits(self._stream(ids, _positions(ids, lengths), attend))

    def _stream(
        self, ids: Tensor, positions: Tensor, attend: Attend, depth: int | None = None
    ) -> Tensor:
        stream = _widen(self.word(ids))
        branch: Tensor = self.position(positions)
        if self.token_type is not None:
            stream = stream + self.token_type.weight[0]
        for layer in self.layers[:depth]:
            stream, branch = layer(stream, branch, attend)
        return stream + branch

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


class Layer(nn.Module):
    """Attention, then a two-layer perceptron, each on the normalised stream, each added to it."""

    def __init__(
        self,
        hidden: int,
        heads: int,
        eps: float,
        gelu: Gelu,
        residual_after_norm: bool,
        parallel: TensorParallel,
    ) -> None:
        super().__init__()
        self.attention_norm = AddLayerNorm(hidden, eps, residual_after_norm)
        self.attention = Attention(hidden, heads, parallel)
        self.mlp_norm = AddLayerNorm(hidden, eps, residual_after_norm)
        self.mlp = MLP(hidden, gelu, parallel)

    def forward(self, stream: Tensor, branch: Tensor, attend: Attend) -> tuple[Tensor, Tensor]:
        """Add what the tokens tell each other, and hand on what each makes of it.

        Args:
            stream: the residual stream `[..., tokens, hidden]`.
            branch: what the block before adds to it, of the same shape.
            attend: which tokens see which.

        Returns:
            The stream, and what the perceptron adds to it.
        """
        stream, normed = self.attention_norm(stream, branch)
        stream, normed = self.mlp_norm(stream, self.attention(normed, attend))
        return stream, self.mlp(normed)


class Attention(nn.Module):
    """Multi-head self-attention; the fused weight's rows go `[heads, query key value, head]`."""

    def __init__(self, hidden: int, heads: int, parallel: TensorParallel) -> None:
        super().__init__()
        self.heads = parallel.share(heads)
        channels = self.heads * (hidden // heads)
        self.qkv = Linear(hidden, 3 * channels)
        self.dense = RowParallelLinear(channels, hidden, parallel)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """Let every token gather from the tokens `attend` lets it see."""
        qkv: Tensor = self.qkv(x)
        query, key, value = qkv.view(*x.shape[:-1], self.heads, 3, -1).unbind(-2)
        gathered: Tensor = self.dense(attend(query, key, value).flatten(-2))
        return gathered


class MLP(nn.Module):
    """Widen four times, bend, narrow again."""

    def __init__(self, hidden: int, gelu: Gelu, parallel: TensorParallel) -> None:
        super().__init__()
        channels = 4 * hidden // parallel.size
        self.expand = LinearGelu(hidden, channels, gelu)
        self.contract = RowParallelLinear(channels, hidden, parallel)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token by itself."""
        narrow: Tensor = self.contract(self.expand(x))
        return narrow


class MLMHead(nn.Module):
    """Which token stands here: scores against the word embeddings, which the head shares."""

    def __init__(self, hidden: int, vocabulary: int, eps: float, gelu: Gelu) -> None:
        super().__init__()
        self.dense = LinearGelu(hidden, hidden, gelu)
        self.norm = LayerNorm(hidden, eps)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Score `[..., hidden]` against every word embedding: `[..., vocabulary]`."""
        return functional.linear(self.norm(self.dense(x)), _widen(words), _widen(self.bias))


class Linear(nn.Linear):
    """A linear map in the precision of its weights."""

    def reset_parameters(self) -> None:
        """Draw nothing: the weights come from a checkpoint."""

    def forward(self, x: Tensor) -> Tensor:
        """Take the input down to the weights' precision, and map it."""
        return functional.linear(x.to(self.weight.dtype), self.weight, self.bias)


class RowParallelLinear(Linear):
    """A linear map of inputs that tensor-parallel ranks have a part of each."""

    def __init__(self, inputs: int, outputs: int, parallel: TensorParallel) -> None:
        super().__init__(inputs, outputs)
        self.parallel = parallel

    def forward(self, x: Tensor) -> Tensor:
        """Take the input down to the weights' precision, map it, and sum over the ranks."""
        # All ranks have the bias. One of them adds it, in its matrix product, at no cost.
        bias = self.bias if self.parallel.rank == 0 else None
        part = functional.linear(x.to(self.weight.dtype), self.weight, bias)
        return self.parallel.add_up(part)


class LinearGelu(Linear):
    """A linear map, and the GELU of what comes out."""

    def __init__(self, inputs: int, outputs: int, form: Gelu) -> None:
        super().__init__(inputs, outputs)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        """Take the input down to the weights' precision, map and bend it."""
        return kernels.linear_gelu(x.to(self.weight.dtype), self.weight, self.bias, self.form)


class Embedding(nn.Embedding):
    """A table of vectors."""

    def reset_parameters(self) -> None:
        """Draw nothing: the weights come from a checkpoint."""


class LayerNorm(nn.LayerNorm):
    """Layer norm in float32: an eps of 1e-12 is zero in half precision."""

    def __init__(self, hidden: int, eps: float) -> None:
        super().__init__(hidden, eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise over the last axis, and stay in float32."""
        weight, bias = _widen(self.weight), _widen(self.bias)
        return functional.layer_norm(_widen(x), self.normalized_shape, weight, bias, self.eps)


class AddLayerNorm(nn.Module):
    """Layer norm of the stream and what a block adds to it."""

    def __init__(self, hidden: int, eps: float, residual_after_norm: bool) -> None:
        super().__init__()
        self.eps = eps
        self.residual_after_norm = residual_after_norm
        self.weight = nn.Parameter(torch.ones(hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(self, stream: Tensor, branch: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new stream, and its layer norm in the precision of `branch`."""
        if not self.residual_after_norm:
            return kernels.add_layer_norm(stream, branch, self.weight, self.bias, self.eps)
        # Here the layer norm is the new stream, so it must not lose precision.
        branch = _widen(branch)
        _, normed = kernels.add_layer_norm(stream, branch, self.weight, self.bias, self.eps)
        return normed, normed


def _positions(ids: Tensor, lengths: Sequence[int] | None = None) -> Tensor:
    if lengths is None:
        return torch.arange(ids.shape[-1], device=ids.device).expand_as(ids)
    # One copy to the device, not one launch for each sequence.
    return torch.cat([torch.arange(length) for length in lengths]).to(ids.device)


def _widen(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
