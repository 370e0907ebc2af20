"""A tiny ProteinLM, its goldens, and a slow forward pass that knows nothing of our code."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench import kernels
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.proteinlm.megatron.writer import Sharding

CONFIG = ProteinLMConfig(
    layers=4, hidden=32, heads=8, positions=40, layernorm_eps=1e-12, gelu="tanh"
)
PROTEINS = ["MKV", "ACDEFGHIKLMNPQRSTVWYBOUXZ", "W", "GGGGGG", "MKTAYIAKQRQISFVKSHFSRQ"]


class Lively(RandomWeights):
    """Weights far from their initial values: no bias is zero, no norm is one."""

    def _draw(self, name: str, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(sum(map(ord, name)) * 1000 + self._seed)
        drawn = torch.randn(shape, generator=generator) * 0.3
        return drawn + 1 if "norm.weight" in name else drawn


@pytest.fixture
def config() -> ProteinLMConfig:
    return CONFIG


@pytest.fixture
def proteins() -> list[str]:
    return PROTEINS


@pytest.fixture
def source() -> RandomWeights:
    """float16 weights, as published checkpoints have them."""
    return Lively(CONFIG, seed=1, stored_dtype=torch.float16)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a source as Megatron shards: `write(source, tensor, pipeline, version)`."""

    def written(
        source: RandomWeights, tensor: int = 1, pipeline: int = 1, version: str = "3.0"
    ) -> Path:
        root = tmp_path / f"tp{tensor}_pp{pipeline}_v{version}"
        convert(source, root, to="megatron", sharding=Sharding(tensor, pipeline, version))
        return root

    return written


@pytest.fixture
def edit() -> Callable[..., None]:
    """Change a shard on disk: `edit(root, change, rank="mp_rank_00")`."""

    def edited(
        root: Path, change: Callable[[dict[str, Any]], None], rank: str = "mp_rank_00"
    ) -> None:
        (path,) = root.glob(f"*/{rank}/model_optim_rng.pt")
        state = torch.load(path, weights_only=False)
        change(state)
        torch.save(state, path)

    return edited


@pytest.fixture
def slow_forward() -> Callable[..., tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Compute hidden states and logits straight from the shards, the way Megatron's ranks do."""
    return _slow_forward


def _slow_forward(
    root: Path, ids: list[int], *, gelu: str = "tanh", final_norm: bool = True
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Run one sequence `[tokens]` through the files of a checkpoint in float64.

    Every tensor-parallel rank computes with its own shard; partial products are summed and
    biases of row-parallel maps added once. Nothing is merged, so no merge can be wrong.
    """
    (folder,) = (entry for entry in root.iterdir() if entry.is_dir())
    files = {file.parent.name: file for file in folder.glob("mp_rank_*/model_optim_rng.pt")}
    states = {name: torch.load(file, weights_only=False) for name, file in files.items()}
    args = next(iter(states.values()))["args"]
    version = next(iter(states.values()))["checkpoint_version"]
    tensor, pipeline = args.tensor_model_parallel_size, args.pipeline_model_parallel_size

    def model(rank: int, stage: int) -> dict[str, Any]:
        name = f"mp_rank_{rank:02d}" + (f"_{stage:03d}" if pipeline > 1 else "")
        return states[name]["model"]

    def array(x: Tensor) -> NDArray[np.float64]:
        return x.double().numpy()

    def norm(x: NDArray[np.float64], weights: dict[str, Tensor], name: str) -> NDArray[np.float64]:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + args.layernorm_epsilon)
        return scaled * array(weights[f"{name}.weight"]) + array(weights[f"{name}.bias"])

    first = [model(rank, 0)["language_model"]["embedding"] for rank in range(tensor)]
    words = np.concatenate([array(part["word_embeddings"]["weight"]) for part in first])
    x = words[ids] + array(first[0]["position_embeddings"]["weight"])[: len(ids)]
    heads = args.num_attention_heads // tensor
    size = args.hidden_size // args.num_attention_heads
    for stage in range(pipeline):
        ranks = [model(rank, stage)["language_model"]["transformer"] for rank in range(tensor)]
        for layer in range(args.num_layers // pipeline):
            prefix = f"layers.{layer}."
            normed = norm(x, ranks[0], f"{prefix}input_layernorm")
            partial = np.zeros_like(x)
            for shard in ranks:
                fused = normed @ array(shard[f"{prefix}attention.query_key_value.weight"]).T
                fused = fused + array(shard[f"{prefix}attention.query_key_value.bias"])
                if version == 0:
                    q, k, v = np.moveaxis(fused.reshape(-1, 3, heads, size), 1, 0)
                elif version == 1:
                    q, k, v = np.moveaxis(fused.reshape(-1, heads, size, 3), 3, 0)
                else:
                    q, k, v = np.moveaxis(fused.reshape(-1, heads, 3, size), 2, 0)
                scores = np.einsum("ihd,jhd->hij", q, k) / math.sqrt(size)
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                weights /= weights.sum(-1, keepdims=True)
                gathered = np.einsum("hij,jhd->ihd", weights, v).reshape(len(ids), -1)
                partial += gathered @ array(shard[f"{prefix}attention.dense.weight"]).T
            x = x + partial + array(ranks[0][f"{prefix}attention.dense.bias"])
            normed = norm(x, ranks[0], f"{prefix}post_attention_layernorm")
            partial = np.zeros_like(x)
            for shard in ranks:
                wide = normed @ array(shard[f"{prefix}mlp.dense_h_to_4h.weight"]).T
                wide = _bend(wide + array(shard[f"{prefix}mlp.dense_h_to_4h.bias"]), gelu)
                partial += wide @ array(shard[f"{prefix}mlp.dense_4h_to_h.weight"]).T
            x = x + partial + array(ranks[0][f"{prefix}mlp.dense_4h_to_h.bias"])
    last = [model(rank, pipeline - 1) for rank in range(tensor)]
    normed = norm(x, last[0]["language_model"]["transformer"], "final_layernorm")
    head = last[0]["lm_head"]
    y = _bend(normed @ array(head["dense.weight"]).T + array(head["dense.bias"]), "erf")
    bias = np.concatenate([array(part["lm_head"]["bias"]) for part in last])
    logits = norm(y, head, "layernorm") @ words.T + bias
    return (normed if final_norm else x), logits[:, :31]


def _bend(x: NDArray[np.float64], gelu: str) -> NDArray[np.float64]:
    if gelu == "tanh":
        return 0.5 * x * (1 + np.tanh(0.79788456 * x * (1 + 0.044715 * x * x)))
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


@pytest.fixture
def half_precision_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiply in half precision, as GPUs do: a CPU can too, if slowly."""
    for module in (kernels, sys.modules[kernels.linear.__module__]):
        monkeypatch.setattr(module, "arithmetic", lambda dtype, device: dtype)
