"""BERT's network: every sum is normalised, and the stream goes on from there.

It is ProteinLM's with the residual taken after the layer norm, its norms handed on by one: what
BERT calls the norm of its embeddings comes before the first block, what it calls the norm behind a
block's perceptron comes before the next block, and the last block's stands at the end.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor

from tape_bench.kernels.bias_gelu import Gelu
from tape_bench.models.transformer.blocks import AddLayerNorm, Layer, layer_norm
from tape_bench.models.transformer.encoder import Encoder
from tape_bench.parallel.tensor import ALONE, TensorParallel


class BertEncoder(Encoder):
    """Token ids in, one vector a token out; see `Encoder`."""

    def __init__(
        self,
        *,
        layers: int,
        hidden: int,
        heads: int,
        inner: int,
        positions: int,
        vocabulary: int,
        token_types: int,
        layernorm_eps: float,
        gelu: Gelu = "erf",
        mlm_head: bool = True,
        parallel: TensorParallel = ALONE,
    ) -> None:
        """Build the network; see `Encoder` for what the sizes are."""
        super().__init__(
            layers=layers,
            hidden=hidden,
            heads=heads,
            inner=inner,
            positions=positions,
            vocabulary=vocabulary,
            token_types=token_types,
            layernorm_eps=layernorm_eps,
            gelu=gelu,
            head_gelu=gelu,
            residual_after_norm=True,
            mlm_head=mlm_head,
            parallel=parallel,
        )

    def _output(self, stream: Tensor, depth: int | None) -> Tensor:
        if depth is None or depth == len(self.layers):
            return super()._output(stream, depth)
        norm: AddLayerNorm = cast(Layer, self.layers[depth]).attention_norm
        return layer_norm(stream, norm.weight, norm.bias, norm.eps)
