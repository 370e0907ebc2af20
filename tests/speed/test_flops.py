"""Operations counted by formula, beside torch's own counter of what was run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tape_bench.models.controls.onehot import load as load_onehot
from tape_bench.models.controls.untrained import RandomWeights, load
from tape_bench.models.embedder import Described, Identity, Network
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.tape_bert.adapter import TapeBertEmbedder
from tape_bench.models.tape_bert.network import TapeBert, TapeBertConfig
from tape_bench.speed.flops import useful_flops

LENGTHS = [40, 7, 7, 1]


@pytest.fixture
def described(tmp_path: Path) -> str:
    config = ProteinLMConfig(
        layers=3, hidden=64, heads=4, positions=50, layernorm_eps=1e-12, gelu="tanh"
    )
    convert(RandomWeights(config, 0), tmp_path / "Tiny")
    return str(tmp_path / "Tiny" / "config.json")


def counted(run) -> int:
    # Written out as products, attention is counted like everything else.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("layer", [None, 0, 2])
def test_proteinlm(described: str, layer: int | None) -> None:
    # The counter does not know the fused operations that lower precisions take on a CPU.
    model = load(described, layer=layer, device="cpu", dtype="float64")
    ids = torch.full((sum(LENGTHS),), 9)
    expected = counted(lambda: model.encoder.forward_packed(ids, LENGTHS, layer))
    assert useful_flops(model.describe(), LENGTHS) == expected


@pytest.mark.parametrize("layer", [None, 1])
def test_tape_bert(layer: int | None) -> None:
    config = TapeBertConfig(
        vocab_size=30,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=50,
        type_vocab_size=1,
        layer_norm_eps=1e-12,
        hidden_act="gelu",
    )
    identity = Identity("bert", "bert", "1", None, 0, 32, 48, None, layer=layer)
    model = TapeBertEmbedder(identity, TapeBert(config, masked_head=False), "token")
    ids = torch.full((sum(LENGTHS),), 9)
    expected = counted(lambda: model.network(ids, LENGTHS, layer))
    assert useful_flops(model.describe(), LENGTHS) == expected
    # It never widens its weights, whatever the processor.
    model.network.half()
    assert model.describe().dtype == "float16"


def test_the_precision_is_that_of_products(described: str) -> None:
    assert load(described, device="cpu", dtype="float16").describe().dtype == "float32"


def test_a_model_without_a_network() -> None:
    assert not isinstance(load_onehot(None), Described)


def test_a_gated_perceptron_has_a_third_product() -> None:
    class Gated(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8)
            self.gate, self.up = torch.nn.Linear(8, 20), torch.nn.Linear(8, 20)
            self.down = torch.nn.Linear(20, 8)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(rows).chunk(3, dim=-1)
            rows = self.out(torch.softmax(q @ k.T, dim=-1) @ v)
            return self.down(self.gate(rows) * self.up(rows))

    expected = counted(lambda: Gated()(torch.zeros(5, 8)))
    assert useful_flops(Network(1, 8, 20, "float32", "cpu", gated=True), [5]) == expected


def test_tokens_are_counted_as_launched(described: str) -> None:
    model = load(described, device="cpu", special_tokens="cls_sep")
    assert model.embed_packed(["MKV", "M"], ["mean"]).tokens == 3 + 2 + 1 + 2
