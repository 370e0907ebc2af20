"""Operations counted by formula, beside torch's own counter of what was run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tape_bench.engine.flops import counting_tokens, network_of
from tape_bench.models.embedder import Identity
from tape_bench.models.onehot import load as load_onehot
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.random import RandomWeights, load
from tape_bench.models.tape_bert import TapeBertEmbedder
from tape_bench.models.tape_bert_network import TapeBert, TapeBertConfig

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
    assert network_of(model).useful_flops(LENGTHS) == expected


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
    assert network_of(model).useful_flops(LENGTHS) == expected
    # It never widens its weights, whatever the processor.
    model.network.half()
    assert network_of(model).dtype == torch.float16


def test_the_precision_is_that_of_products(described: str) -> None:
    assert network_of(load(described, device="cpu", dtype="float16")).dtype == torch.float32


def test_a_model_without_a_network() -> None:
    assert network_of(load_onehot(None)) is None


def test_tokens_are_counted_as_launched(described: str) -> None:
    model = load(described, device="cpu", special_tokens="cls_sep")
    with counting_tokens(network_of(model)) as launches:
        model.embed_packed(["MKV", "M"], ["mean"])
        model.encoder(torch.full((2, 30), 9))
    assert launches == [3 + 2 + 1 + 2, 60]
    model.embed_packed(["MKV"], ["mean"])
    assert len(launches) == 2
