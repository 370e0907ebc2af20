"""The parts of a transformer: layers of attention and perceptron, and what stands around them.

The residual stream, layer norms and softmax are computed in float32 (float64 in a float64 model)
whatever the precision of the weights; linear maps take their input down to it, except on a CPU
that is slow in it, see `kernels.linear`.

What a block adds to the stream is handed on beside it and added where the next layer norm reads
the sum, which one kernel does at once, or where that is faster by the block's last matrix product
itself, on a GPU all but its bias; position embeddings are the first to be added so.

A tensor-parallel rank has some of the heads in `Attention`, some of the channels in `MLP`, and
all of everything else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tape_bench import kernels
from tape_bench.kernels.bias_gelu import Gelu, gelu
from tape_bench.models.transformer.attend import Attend
from tape_bench.parallel.tensor import TensorParallel

Sum = tuple[Tensor, Tensor | None]
"""A stream, and what is still to be added to it: what a block made of every token, or one vector
`[hidden]` for all of them, the biases of blocks."""


class Layer(nn.Module):
    """Attention, then a two-layer perceptron, each on the normalised stream, each added to it."""

    def __init__(
        self,
        hidden: int,
        heads: int,
        inner: int,
        eps: float,
        gelu: Gelu,
        residual_after_norm: bool,
        parallel: TensorParallel,
    ) -> None:
        super().__init__()
        self.attention_norm = AddLayerNorm(hidden, eps, residual_after_norm)
        self.attention = Attention(hidden, heads, parallel)
        self.mlp_norm = AddLayerNorm(hidden, eps, residual_after_norm)
        self.mlp = MLP(hidden, inner, gelu, parallel)

    def forward(self, stream: Tensor, branch: Tensor | None, attend: Attend) -> Sum:
        """Add what the tokens tell each other, and then what each makes of it.

        Args:
            stream: the residual stream `[..., tokens, hidden]`.
            branch: what the block before still adds to it, of the same shape.
            attend: which tokens see which.

        Returns:
            The stream, and what the perceptron still adds to it.
        """
        stream, biases, normed = self.attention_norm(stream, branch)
        stream, branch = self.attention(stream, biases, normed, attend)
        stream, biases, normed = self.mlp_norm(stream, branch)
        added: Sum = self.mlp(stream, biases, normed)
        return added


class Attention(nn.Module):
    """Multi-head self-attention; the fused weight's rows go `[heads, query key value, head]`."""

    def __init__(self, hidden: int, heads: int, parallel: TensorParallel) -> None:
        super().__init__()
        self.heads = parallel.share(heads)
        channels = self.heads * (hidden // heads)
        self.qkv = Linear(hidden, 3 * channels)
        self.dense = RowParallelLinear(channels, hidden, parallel)

    def forward(self, stream: Tensor, biases: Tensor | None, x: Tensor, attend: Attend) -> Sum:
        """Add what every token gathers from the tokens `attend` lets it see."""
        qkv: Tensor = self.qkv(x)
        query, key, value = qkv.view(*x.shape[:-1], self.heads, 3, -1).unbind(-2)
        added: Sum = self.dense(stream, biases, attend(query, key, value).flatten(-2))
        return added


class MLP(nn.Module):
    """Widen, bend, narrow again."""

    def __init__(self, hidden: int, inner: int, gelu: Gelu, parallel: TensorParallel) -> None:
        super().__init__()
        channels = parallel.share(inner)
        self.expand = LinearGelu(hidden, channels, gelu)
        self.contract = RowParallelLinear(channels, hidden, parallel)

    def forward(self, stream: Tensor, biases: Tensor | None, x: Tensor) -> Sum:
        """Add what each token becomes by itself."""
        added: Sum = self.contract(stream, biases, self.expand(x))
        return added


class MLMHead(nn.Module):
    """Which token stands here: scores against the word embeddings, which the head shares."""

    def __init__(self, hidden: int, vocabulary: int, eps: float, gelu: Gelu) -> None:
        super().__init__()
        self.dense = LinearGelu(hidden, hidden, gelu)
        self.norm = LayerNorm(hidden, eps)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Score `[..., hidden]` against every word embedding: `[..., vocabulary]`."""
        return functional.linear(self.norm(self.dense(x)), widened(words), widened(self.bias))


class Linear(nn.Linear):
    """A linear map, in the precision of its weights or one that is faster."""

    lora: nn.Module | None
    """What is added to the map while low ranks are trained, see `tape_bench.models.lora`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_module("lora", None)

    def reset_parameters(self) -> None:
        """Draw nothing: the weights come from a checkpoint."""

    def forward(self, x: Tensor) -> Tensor:
        """Map every token."""
        mapped = kernels.linear(x, self.weight, self.bias)
        return mapped if self.lora is None else mapped + self.lora(x)


class RowParallelLinear(nn.Module):
    """A linear map onto the stream, of inputs that tensor-parallel ranks have a part of each."""

    lora: nn.Module | None
    """As in `Linear`."""

    def __init__(self, inputs: int, outputs: int, parallel: TensorParallel) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.parallel = parallel
        self.register_module("lora", None)

    def forward(self, stream: Tensor, biases: Tensor | None, x: Tensor) -> Sum:
        """Map every token, and sum over the ranks.

        Args:
            stream: `[..., tokens, outputs]`.
            biases: `[outputs]`, of blocks before, still to be added to every token.
            x: what this rank has of the inputs.

        Returns:
            The stream, and what is still to be added to it.
        """
        if self.lora is not None:
            stream = stream if biases is None else stream + biases
            return stream + self.lora(x), kernels.linear(x, self.weight, self.bias)
        if self.parallel.size == 1 and kernels.sums_on_gpu(stream, self.weight):
            stream = kernels.linear_onto(stream, x, self.weight, None)
            return stream, widened(self.bias) if biases is None else biases + self.bias
        if biases is not None:
            stream = stream + biases
        onto = kernels.adds_for_free(stream, self.weight)
        # All ranks have the stream and the bias; the first adds them to its part.
        if self.parallel.rank > 0:
            part = kernels.linear(x, self.weight)
        elif onto:
            part = kernels.linear_onto(stream, x, self.weight, self.bias)
        else:
            part = kernels.linear(x, self.weight, self.bias)
        whole = self.parallel.add_up(part)
        return (whole, None) if onto else (stream, whole)


class LinearGelu(Linear):
    """A linear map, and the GELU of what comes out."""

    def __init__(self, inputs: int, outputs: int, form: Gelu) -> None:
        super().__init__(inputs, outputs)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        """Map and bend every token."""
        if self.lora is not None:
            return gelu(super().forward(x), self.form)
        return kernels.linear_gelu(x, self.weight, self.bias, self.form)


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
        return layer_norm(x, self.weight, self.bias, self.eps)


class AddLayerNorm(nn.Module):
    """Layer norm of the stream and what a block adds to it."""

    def __init__(self, hidden: int, eps: float, residual_after_norm: bool) -> None:
        super().__init__()
        self.eps = eps
        self.residual_after_norm = residual_after_norm
        self.weight = nn.Parameter(torch.ones(hidden))
        self.bias = nn.Parameter(torch.zeros(hidden))

    def forward(
        self, stream: Tensor, branch: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return the new stream, the biases still to be added to it, and their sum's layer norm."""
        if branch is not None and branch.dim() == 1:
            if not self.residual_after_norm:
                normed = kernels.layer_norm(stream, self.weight, self.bias, self.eps, branch)
                return stream, branch, normed
            stream, branch = stream + branch, None
        if branch is None:
            normed = layer_norm(stream, self.weight, self.bias, self.eps)
        else:
            # The layer norm of a stream that it replaces must not lose precision.
            branch = widened(branch) if self.residual_after_norm else branch
            stream, normed = kernels.add_layer_norm(
                stream, branch, self.weight, self.bias, self.eps
            )
        return (normed if self.residual_after_norm else stream), None, normed


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise over the last axis, at least in float32."""
    return functional.layer_norm(widened(x), weight.shape, widened(weight), widened(bias), eps)


def widened(x: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
