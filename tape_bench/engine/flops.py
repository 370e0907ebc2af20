"""What a network has to compute, as opposed to what it happens to compute.

Useful is the work of the blocks on residues alone. Each residue passes linear maps with
`4 * hidden * hidden` weights around attention and `2 * hidden * inner` in the perceptron, at a
multiplication and an addition a weight. A protein of L residues compares all with all, and gathers
from all, at `2 * L * L * hidden` each. Special tokens, padding, norms, activations and embeddings
count as nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from tape_bench.kernels import arithmetic
from tape_bench.models.embedder import Embedder
from tape_bench.models.proteinlm import ProteinLM
from tape_bench.models.tape_bert import TapeBertEmbedder
from tape_bench.models.tape_bert_network import Block


@dataclass(frozen=True)
class Network:
    """What can be said of a transformer's work without running it."""

    layers: int
    """Blocks that are gone through."""
    hidden: int
    inner: int
    """Width inside the perceptron."""
    words: nn.Embedding
    """The table that every token launched is looked up in."""
    dtype: torch.dtype
    """The precision of its matrix products."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.words.weight.device

    def useful_flops(self, lengths: Iterable[int]) -> float:
        """Return the useful operations for proteins of these residues."""
        linear = 4 * self.hidden**2 + 2 * self.hidden * self.inner
        return float(sum(self.layers * (2 * linear * n + 4 * self.hidden * n * n) for n in lengths))


def network_of(model: Embedder) -> Network | None:
    """Describe a model's network, which reads its weights; None for a model of another kind."""
    if isinstance(model, ProteinLM):
        config, depth = model.config, model.reading.layer
        layers = config.layers if depth is None else depth
        multiplies = arithmetic(model.dtype, model.device)
        return Network(layers, config.hidden, 4 * config.hidden, model.encoder.word, multiplies)
    if isinstance(model, TapeBertEmbedder):
        network, depth = model.network, model.identity.layer
        blocks = cast(list[Block], list(network.blocks))
        inner, hidden = blocks[0].widen.weight.shape
        layers = len(blocks) if depth is None else depth
        return Network(layers, hidden, inner, network.words, network.words.weight.dtype)
    return None


@contextmanager
def counting_tokens(network: Network) -> Iterator[list[int]]:
    """Count the tokens of every launch, special ones and padding included, as they happen."""
    launches: list[int] = []

    def count(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        launches.append(given[0].numel())

    hook = network.words.register_forward_pre_hook(count)
    try:
        yield launches
    finally:
        hook.remove()
