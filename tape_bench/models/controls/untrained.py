"""Untrained controls: the architecture of a pre-trained model, its weights drawn at random.

What a pre-trained model scores above its untrained twin is what pre-training added. Weights are
drawn as Megatron-LM initialises them, from a seed and each tensor's name, so that any one of them
can be made without the others.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import psutil
import torch
from torch import Tensor

from tape_bench import paths
from tape_bench.errors import CheckpointError, ModelError, unknown_name
from tape_bench.models.placement import choose_device
from tape_bench.models.proteinlm.adapter import ProteinLM
from tape_bench.models.proteinlm.config import ProteinLMConfig
from tape_bench.models.proteinlm.folder import config_from_json
from tape_bench.models.proteinlm.mapping import weights
from tape_bench.models.proteinlm.megatron.partition import Rank, merge
from tape_bench.models.proteinlm.reading import Reading, SpecialTokens
from tape_bench.models.proteinlm.source import Origin
from tape_bench.parallel.tensor import ALONE, TensorParallel

SHAPES = {
    "proteinlm-200m": ProteinLMConfig(
        layers=16, hidden=1024, heads=16, positions=2176, layernorm_eps=1e-12, gelu="tanh"
    ),
}
"""Published architectures, by name."""

EXAMPLE = (
    '{"num_hidden_layers": 16, "hidden_size": 1024, "num_attention_heads": 16, '
    '"max_position_embeddings": 2176, "layer_norm_eps": 1e-12, "hidden_act": "gelu_new"}'
)
"""What a JSON file says of a shape: that of ProteinLM-200M; "gelu" is the erf form."""

_MOST_LAYERS = 10_000

_SPREAD = 0.02
"""Standard deviation of Megatron's initial weights."""


def load(
    argument: str | None,
    *,
    seed: int = 0,
    dtype: str | None = None,
    device: str | None = None,
    reading: str = "megatron",
    special_tokens: SpecialTokens | None = None,
    layer: int | None = None,
    tensor_parallel: TensorParallel = ALONE,
) -> ProteinLM:
    """Make an untrained model.

    Args:
        argument: `proteinlm-200m`, or the path of a JSON file that says the shape; see `EXAMPLE`.
        seed: another seed is another untrained model.
        dtype: precision to compute in; None for float32 on a CPU, and on a GPU for float16, which
            the pre-trained twin's weights are in. See `proteinlm.load`, and so for the rest.
        device: `cpu`, `cuda` or `cuda:N`.
        reading: `megatron` or `fork`.
        special_tokens: `cls` or `cls_sep`.
        layer: number of layers to go through.
        tensor_parallel: this process's part of the network.

    Raises:
        UsageError: no architecture has this name.
        CheckpointError: the config file cannot be read.
    """
    if argument in SHAPES:
        config, name = SHAPES[argument], argument
    elif (argument or "").endswith(".json"):
        config = _read(paths.expand(argument or ""))
        name = f"{config.layers}x{config.hidden}"
    else:
        raise unknown_name("untrained architecture", argument or "", [*SHAPES, "CONFIG.json"])
    _refuse_too_large(config, argument or "")
    if dtype is None and choose_device(device).type == "cuda":
        dtype = "float16"
    return ProteinLM(
        lambda: RandomWeights(config, seed),
        Reading(reading, special_tokens, layer),
        spec=f"random:{argument}",
        name=f"random-{name}",
        pretraining=(),
        control=True,
        dtype=dtype,
        device=device,
        tensor_parallel=tensor_parallel,
    )


def _refuse_too_large(config: ProteinLMConfig, where: str) -> None:
    """Refuse a network that this machine cannot hold: no file vouches for its size."""
    hidden = config.hidden
    numbers = hidden * (12 * hidden * config.layers + config.positions + config.token_types)
    there = psutil.virtual_memory().total
    if 4 * numbers > there or config.layers > _MOST_LAYERS:
        raise ModelError(
            f"a network of {config.layers} layers and {numbers / 1e9:.1f} billion numbers; this "
            f"machine has {there / 1e9:.0f} GB of memory",
            where=where,
            fix="choose a smaller shape",
        )


def _read(path: Path) -> ProteinLMConfig:
    try:
        return config_from_json(path)
    except CheckpointError as error:
        raise CheckpointError(
            f"not the shape of an untrained network: {error.what}",
            where=error.where,
            fix=f"give the config.json that `tape-bench convert` writes, or one like {EXAMPLE}",
        ) from None


class RandomWeights:
    """Weights of an untrained network; a `WeightSource` that no file stands behind."""

    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    promised_digest = None

    def __init__(
        self, config: ProteinLMConfig, seed: int, stored_dtype: torch.dtype = torch.float32
    ) -> None:
        if seed < 0:
            raise ModelError(f"a seed is a whole number from 0 on, not {seed}")
        self.config = config
        self.stored_dtype = stored_dtype
        self.origin = Origin(f"seed-{seed}", checkpoint_version="none", qkv_order="v2")
        self._weights = weights(config)
        self._seed = seed

    def check_bytes(self) -> None:
        """Nothing was written, so there is nothing to check; see `WeightSource`."""

    def read(
        self,
        name: str,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        keep: Rank = (0, 1),
        share: bool = False,
    ) -> Tensor:
        """Draw one weight; see `WeightSource.read`."""
        weight = self._weights[name]
        drawn = self._draw(name, weight.shape).to(self.stored_dtype)
        if weight.partition == "heads":
            drawn = drawn.view(self.config.heads, 3, -1, *weight.shape[1:])
        kept = merge(
            [drawn],
            weight.partition,
            name=name,
            keep=keep,
            dtype=dtype or self.stored_dtype,
            device=device,
            share=share,
        )
        return kept.flatten(0, 2) if weight.partition == "heads" else kept

    def _draw(self, name: str, shape: tuple[int, ...]) -> Tensor:
        if name.endswith("bias"):
            return torch.zeros(shape)
        if "norm" in name:
            return torch.ones(shape)
        # Outputs of blocks are added up over 2 * layers blocks; this keeps their sum in bounds.
        narrower = name.endswith(("attention.dense.weight", "mlp.contract.weight"))
        spread = _SPREAD / math.sqrt(2 * self.config.layers) if narrower else _SPREAD
        key = hashlib.sha256(f"{self._seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
        return torch.empty(shape).normal_(0, spread, generator=generator)
