"""Write Megatron-LM shards of any tensor- and pipeline-parallel size and checkpoint version."""

from __future__ import annotations

import errno
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tape_bench.errors import UsageError
from tape_bench.models.proteinlm.config import ProteinLMConfig, QkvOrder
from tape_bench.models.proteinlm.mapping import TIED_WORDS, Weight, nest, weights
from tape_bench.models.proteinlm.megatron.layout import shard_path
from tape_bench.models.proteinlm.megatron.partition import from_heads
from tape_bench.models.proteinlm.source import WeightSource

ORDERS: dict[str, QkvOrder] = {"0": "v0", "1.0": "v1", "2.0": "v2", "3.0": "v2"}
"""Checkpoint versions that can be written, and how their query, key and value rows lie."""

_VOCABULARY_MULTIPLE = 128
"""Megatron pads the vocabulary to a multiple of this on every rank."""


@dataclass(frozen=True)
class Sharding:
    """Into how many files, and in which version, a checkpoint is written."""

    tensor: int = 1
    pipeline: int = 1
    version: str = "3.0"

    def check(self, config: ProteinLMConfig) -> None:
        """Raise UsageError where a network cannot be cut this way."""
        if self.version not in ORDERS:
            raise UsageError(
                f"checkpoint version {self.version!r} is not known",
                fix=f"choose one of {', '.join(ORDERS)}",
            )
        for what, number, size in (
            ("heads", config.heads, self.tensor),
            ("layers", config.layers, self.pipeline),
        ):
            if size < 1 or number % size:
                raise UsageError(
                    f"{number} {what} cannot be shared equally by {size}",
                    fix=f"choose a number that divides {number}",
                )

    def ranks(self) -> Iterator[tuple[Path, int, int]]:
        """Yield each file's path in the checkpoint's folder, tensor rank and pipeline stage."""
        for stage in range(self.pipeline):
            for rank in range(self.tensor):
                yield shard_path(rank, stage, self.pipeline), rank, stage


def write_rank(
    source: WeightSource,
    rank: int,
    stage: int,
    sharding: Sharding,
    path: Path,
    *,
    dtype: torch.dtype | None,
    iteration: int,
) -> None:
    """Write the file of one rank, reading from the source only what that rank keeps."""
    config = source.config
    per_stage = config.layers // sharding.pipeline
    first, last = stage == 0, stage == sharding.pipeline - 1
    kept: dict[str, Tensor] = {}

    def keep(weight: Weight, key: str) -> None:
        tensor = source.read(weight.name, dtype=dtype, keep=(rank, sharding.tensor))
        if weight.partition == "vocabulary":
            tensor = _rows_of_rank(tensor, rank, sharding.tensor)
        elif weight.partition == "heads":
            by_head = tensor.view(-1, 3, config.head_size, *tensor.shape[1:])
            tensor = from_heads(by_head, ORDERS[sharding.version]).contiguous()
        kept[key] = tensor

    for weight in weights(config).values():
        if weight.layer is not None:
            if weight.layer // per_stage == stage:
                keep(weight, weight.megatron.format(weight.layer % per_stage))
        elif (weight.stage == "first" and first) or (weight.stage == "last" and last):
            keep(weight, weight.megatron)
        if weight.name == "word.weight" and last and not first and config.mlm_head:
            keep(weight, TIED_WORDS)
    state = {
        "args": _args(config, sharding),
        "checkpoint_version": float(sharding.version),
        "iteration": iteration,
        "model": nest(kept),
    }
    try:
        torch.save(state, path)
    except RuntimeError as error:
        # How torch says that the disk is full.
        raise OSError(errno.ENOSPC, "only a part could be written; is the disk full?") from error


def _rows_of_rank(tensor: Tensor, rank: int, ranks: int) -> Tensor:
    """Pad the vocabulary with zeros, as a whole, and cut out one rank's rows."""
    rows = tensor.new_zeros(_padded_vocabulary(ranks), *tensor.shape[1:])
    rows[: len(tensor)] = tensor
    return rows.chunk(ranks)[rank].clone()


def _padded_vocabulary(ranks: int) -> int:
    return _VOCABULARY_MULTIPLE * ranks


def _args(config: ProteinLMConfig, sharding: Sharding) -> Namespace:
    """Say everything the weights do not, under Megatron's names."""
    return Namespace(
        num_layers=config.layers,
        hidden_size=config.hidden,
        num_attention_heads=config.heads,
        max_position_embeddings=config.positions,
        seq_length=config.positions,
        padded_vocab_size=_padded_vocabulary(sharding.tensor),
        make_vocab_size_divisible_by=_VOCABULARY_MULTIPLE,
        layernorm_epsilon=config.layernorm_eps,
        tensor_model_parallel_size=sharding.tensor,
        pipeline_model_parallel_size=sharding.pipeline,
        bias_gelu_fusion=config.gelu == "tanh" and config.head_gelu == "erf",
        openai_gelu=config.head_gelu == "tanh",
        onnx_safe=False,
        apply_residual_connection_post_layernorm=config.residual_after_norm,
        apply_query_key_layer_scaling=True,
        tokenizer_type="BertWordPieceCase",
    )
