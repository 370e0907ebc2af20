"""Untrained controls: drawn as Megatron draws, the same for a seed, plainly controls."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tape_bench.errors import CheckpointError, ModelError, UsageError
from tape_bench.models.controls.untrained import EXAMPLE, SHAPES, RandomWeights, load
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.checkpoint import digest
from tape_bench.models.proteinlm.convert import convert

CONFIG = ProteinLMConfig(
    layers=8, hidden=64, heads=4, positions=12, layernorm_eps=1e-12, gelu="tanh"
)


@pytest.fixture
def described(tmp_path: Path) -> Path:
    convert(RandomWeights(CONFIG, 0), tmp_path / "Tiny")
    return tmp_path / "Tiny" / "config.json"


def test_weights_are_drawn_as_megatron_draws_them() -> None:
    weights = RandomWeights(CONFIG, 0)
    narrow = 0.02 / math.sqrt(16)
    for name, spread in {
        "word.weight": 0.02,
        "layers.3.attention.qkv.weight": 0.02,
        "layers.3.attention.dense.weight": narrow,
        "layers.3.mlp.expand.weight": 0.02,
        "layers.3.mlp.contract.weight": narrow,
        "mlm_head.dense.weight": 0.02,
    }.items():
        drawn = weights.read(name)
        assert float(drawn.std()) == pytest.approx(spread, rel=0.1)
        assert abs(float(drawn.mean())) < spread / 10
    assert torch.equal(weights.read("final_norm.weight"), torch.ones(64))
    assert torch.equal(weights.read("layers.0.mlp.expand.bias"), torch.zeros(256))


def test_a_seed_is_a_model() -> None:
    assert digest(RandomWeights(CONFIG, 1)) == digest(RandomWeights(CONFIG, 1))
    assert digest(RandomWeights(CONFIG, 1)) != digest(RandomWeights(CONFIG, 2))
    with pytest.raises(ModelError, match="a seed is"):
        RandomWeights(CONFIG, -1)


def test_no_two_weights_are_alike() -> None:
    weights = RandomWeights(CONFIG, 0)
    one = weights.read("layers.0.attention.qkv.weight")
    other = weights.read("layers.1.attention.qkv.weight")
    correlation = np.corrcoef(one.flatten(), other.flatten())[0, 1]
    assert abs(correlation) < 0.05


def test_a_control_says_that_it_is_one(described: Path) -> None:
    model = load(str(described), seed=5, device="cpu")
    identity = model.identity
    assert identity.control
    assert identity.pretraining == ()
    assert identity.name == "random-8x64"
    assert identity.revision == "seed-5"
    assert identity.spec == f"random:{described}"
    assert identity.weights_digest == digest(RandomWeights(CONFIG, 5))
    assert model.embed(["MKV"])[0].shape == (3, 64)


def test_the_published_shape() -> None:
    shape = SHAPES["proteinlm-200m"]
    sizes = (shape.layers, shape.hidden, shape.heads, shape.positions, shape.layernorm_eps)
    assert sizes == (16, 1024, 16, 2176, 1e-12)


def test_the_example_in_messages_is_the_published_shape(tmp_path: Path) -> None:
    (tmp_path / "small.json").write_text(EXAMPLE)
    model = load(str(tmp_path / "small.json"), device="cpu")
    assert model.identity.name == "random-16x1024"
    assert model.identity.parameters == load("proteinlm-200m", device="cpu").identity.parameters


@pytest.mark.parametrize("text", ["{}", "[", '{"num_hidden_layers": 2}'])
def test_a_config_that_says_no_shape_is_answered_with_one_that_does(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="not the shape of an untrained network") as caught:
        load(str(tmp_path / "config.json"))
    assert str(tmp_path / "config.json") in str(caught.value)
    assert EXAMPLE in str(caught.value)


def test_unknown_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="proteinlm-200m"):
        load("proteinlm-200")
    with pytest.raises(UsageError, match="untrained architecture"):
        load(None)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(str(tmp_path / "config.json"))


@pytest.mark.parametrize(
    "changes",
    [{"num_hidden_layers": 10**7}, {"max_position_embeddings": 10**7, "hidden_size": 10**7}],
)
def test_a_network_that_no_machine_holds(tmp_path: Path, changes: dict[str, int]) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(EXAMPLE) | {"num_attention_heads": 1} | changes))
    with pytest.raises(ModelError, match="GB of memory"):
        load(str(path))
