"""ESM-1b's and ESM-2's network: ProteinLM's, but for its embeddings and how places are told.

Words are scaled by the share of tokens that a training row showed, over the share that this one
shows: masked tokens count as dropped out. The share is of the token's own sequence; another
sequence's masks have no part in it. ESM-1b has a table of positions and a layer norm over the
embeddings, ESM-2 turns queries and keys.
"""

from __future__ import annotations

from torch import nn

from tape_bench.models.transformer.attend import Attend
from tape_bench.models.transformer.blocks import LayerNorm, Sum, widened
from tape_bench.models.transformer.encoder import Encoder, Tokens
from tape_bench.models.transformer.rotary import turned
from tape_bench.parallel.tensor import ALONE, TensorParallel

SHOWN_IN_TRAINING = 1 - 0.15 * 0.8
"""15 % of tokens are selected in training, 80 % of those are masked."""


class EsmEncoder(Encoder):
    """Token ids in, one vector a token out; see `Encoder`."""

    def __init__(
        self,
        *,
        layers: int,
        hidden: int,
        heads: int,
        inner: int,
        vocabulary: int,
        layernorm_eps: float,
        positions: int = 0,
        embedding_norm: bool = False,
        mask: int | None = None,
        mlm_head: bool = True,
        parallel: TensorParallel = ALONE,
    ) -> None:
        """Build the network.

        Args:
            layers: blocks.
            hidden: width of a token.
            heads: heads of attention.
            inner: width inside the perceptron.
            vocabulary: rows of the table of words.
            layernorm_eps: what layer norms add to the variance.
            positions: rows of the table of positions; none for rotary positions.
            embedding_norm: whether the embeddings are normalised.
            mask: id of the mask token, where words are scaled; None where they are not.
            mlm_head: whether there is a masked-language-model head.
            parallel: this process's part.
        """
        super().__init__(
            layers=layers,
            hidden=hidden,
            heads=heads,
            inner=inner,
            positions=positions,
            vocabulary=vocabulary,
            layernorm_eps=layernorm_eps,
            gelu="erf",
            mlm_head=mlm_head,
            parallel=parallel,
        )
        self.head = hidden // heads
        self.mask = mask
        self.embedding_norm: nn.Module | None = (
            LayerNorm(hidden, layernorm_eps) if embedding_norm else None
        )

    def _embedded(self, tokens: Tokens) -> Sum:
        stream = widened(self.word(tokens.ids))
        if self.mask is not None:
            hidden = (tokens.ids == self.mask).float()
            share = tokens.totals(hidden) / tokens.totals(hidden.new_ones(hidden.shape))
            scale = (1 - hidden) * (SHOWN_IN_TRAINING / (1 - share))
            stream = stream * scale.unsqueeze(-1)
        if self.position is not None:
            stream = stream + self.position(tokens.positions)
        if self.embedding_norm is not None:
            stream = self.embedding_norm(stream)
        return stream, None

    def _placed(self, tokens: Tokens) -> Attend:
        if self.position is not None:
            return tokens.attend
        return turned(tokens.attend, tokens.positions, self.head)
