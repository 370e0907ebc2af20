"""Networks to measure speed with: real shapes, weights drawn in a second, nothing hashed."""

from __future__ import annotations

import zlib
from functools import cached_property

import torch
from torch import Tensor

from tape_bench.models.controls.untrained import SHAPES, RandomWeights
from tape_bench.models.embedder import Identity
from tape_bench.models.proteinlm import ProteinLM, ProteinLMConfig
from tape_bench.models.proteinlm.checkpoint import load_encoder
from tape_bench.models.proteinlm.reading import Reading
from tape_bench.models.transformer.encoder import Encoder
from tape_bench.parallel.tensor import ALONE, TensorParallel


def _shape(layers: int, hidden: int, heads: int) -> ProteinLMConfig:
    return ProteinLMConfig(
        layers=layers, hidden=hidden, heads=heads, positions=2176, layernorm_eps=1e-12, gelu="tanh"
    )


CONFIGS = {
    "tiny": _shape(2, 64, 4),
    "200m": SHAPES["proteinlm-200m"],
    "650m": _shape(33, 1280, 20),
    "3b": _shape(36, 2560, 40),
}
"""The largest has the shape of ProteinLM-3B and of ESM-2's; 650m is ESM-2's of that size."""

BLOCK = 1 << 22
"""Numbers that are drawn; weights repeat them, each from a place of its own."""


class TiledWeights(RandomWeights):
    """Random weights that take a second instead of a minute: one block, over and over."""

    def __init__(
        self, config: ProteinLMConfig, stored_dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(config, 0, stored_dtype)
        generator = torch.Generator().manual_seed(0)
        self._block = torch.randn(BLOCK, generator=generator).to(device)

    def _draw(self, name: str, shape: tuple[int, ...]) -> Tensor:
        plain = super()._draw(name, (1,)) if name.endswith("bias") or "norm" in name else None
        if plain is not None:
            return plain.to(self._block.device).expand(shape).contiguous()
        narrower = name.endswith(("attention.dense.weight", "mlp.contract.weight"))
        spread = 0.02 / (2 * self.config.layers) ** 0.5 if narrower else 0.02
        rolled = self._block.roll(zlib.crc32(name.encode()) % BLOCK) * spread
        count = torch.Size(shape).numel()
        return rolled.repeat(-(-count // BLOCK))[:count].view(shape)


class Measured(ProteinLM):
    """Our model, without the digest of weights that no one will ask for again."""

    def load_encoder(self) -> Encoder:
        """Build the network."""
        return load_encoder(
            self._open_source(),
            self.config,
            dtype=self.dtype,
            device=self.device,
            parallel=self._tensor_parallel,
        )

    @cached_property
    def identity(self) -> Identity:
        """A name, and what the engine asks for."""
        return Identity(
            spec="random",
            name="random",
            revision="tiled",
            weights_digest="tiled",
            parameters=0,
            hidden_size=self.config.hidden,
            longest_input=self.longest,
            pretraining=(),
            dtype=str(self.dtype).removeprefix("torch."),
            control=True,
        )


# Not a user's: what it computes is not looked at twice.
Measured.__module__ = ProteinLM.__module__


def network(
    config: ProteinLMConfig,
    dtype: torch.dtype,
    device: torch.device,
    tensor_parallel: TensorParallel = ALONE,
) -> ProteinLM:
    """Make our model of a shape."""
    return Measured(
        lambda: TiledWeights(config, dtype, device),
        Reading("megatron", None, None),
        spec="random",
        name="random",
        pretraining=(),
        control=True,
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        tensor_parallel=tensor_parallel,
    )
