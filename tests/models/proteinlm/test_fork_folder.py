"""Folders as the TAPE fork writes them are the checkpoints that they were converted from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tape_bench.errors import CheckpointError, UsageError
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import ProteinLM, ProteinLMConfig, Reading, load

CONFIG = ProteinLMConfig(
    layers=3, hidden=32, heads=4, positions=64, layernorm_eps=1e-12, gelu="tanh"
)
PROTEINS = ["MKTAYIAKQR", "ACDEFGHIKLMNPQRSTVWYBOUXZ", "W"]


class Lively(RandomWeights):
    """Weights far from their initial values."""

    def _draw(self, name: str, shape: tuple[int, ...]) -> Tensor:
        generator = torch.Generator().manual_seed(sum(map(ord, name)) * 1000 + self._seed)
        return torch.randn(shape, generator=generator) * 0.3 + ("norm.weight" in name)


def fork_folder(folder: Path, *, head: bool = False, legacy: bool = True) -> Path:
    """Write what the fork's converter writes of these weights, from its description."""
    source = Lively(CONFIG, 0)
    state = {}
    words = source.read("word.weight")
    state["bert.embeddings.word_embeddings.weight"] = torch.cat([words[:5], words[6:31]])
    state["bert.embeddings.position_embeddings.weight"] = source.read("position.weight")
    state["bert.embeddings.token_type_embeddings.weight"] = torch.zeros(2, CONFIG.hidden)
    names = {
        "attention_norm": "input_ln", "attention.dense": "attention.dense",
        "mlp_norm": "post_attn_ln", "mlp.expand": "mlp.dense_h_4h",
        "mlp.contract": "mlp.dense_4h_h",
    }  # fmt: skip
    for layer in range(CONFIG.layers):
        theirs = f"bert.encoder.layer.{layer}"
        for part in ("weight", "bias"):
            for ours, name in names.items():
                state[f"{theirs}.{name}.{part}"] = source.read(f"layers.{layer}.{ours}.{part}")
            fused = source.read(f"layers.{layer}.attention.qkv.{part}")
            # Of each head in turn: its queries, keys and values.
            by_head = fused.view(CONFIG.heads, 3, CONFIG.hidden // CONFIG.heads, -1)
            for place, name in enumerate(("query", "key", "value")):
                rows = by_head[:, place].reshape(CONFIG.hidden, -1)
                state[f"{theirs}.attention.self.{name}.{part}"] = rows.squeeze(-1).clone()
    for part in ("weight", "bias"):
        state[f"bert.encoder.final_ln.{part}"] = source.read(f"final_norm.{part}")
        state[f"bert.bert_tail_dense.{part}"] = torch.ones(CONFIG.hidden)
    if head:
        state["predict.value_prediction.main.0.bias"] = torch.ones(1024)
    folder.mkdir(parents=True)
    said = {
        "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 128, "max_position_embeddings": 64, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "hidden_act": "gelu", "mega_transfer": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(said))
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    return folder


def original(reading: Reading, config: ProteinLMConfig = CONFIG) -> ProteinLM:
    return ProteinLM(
        lambda: Lively(config, 0), reading, spec="x", name="x", pretraining=(), device="cpu"
    )


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("head", [True, False])
def test_it_is_read_as_the_fork_runs_it(head: bool, legacy: bool, tmp_path: Path):
    model = load(str(fork_folder(tmp_path / "f", head=head, legacy=legacy)), device="cpu")
    assert model.identity.reading["reading"] == "fork"
    assert model.identity.reading["special_tokens"] == "cls_sep"
    expected = original(Reading("fork")).embed(PROTEINS)
    for found, rows in zip(model.embed(PROTEINS), expected, strict=True):
        np.testing.assert_allclose(found, rows, atol=1e-5)


def test_it_can_be_read_as_it_was_pre_trained(tmp_path: Path):
    import dataclasses

    model = load(str(fork_folder(tmp_path / "f")), device="cpu", reading="megatron")
    expected = original(Reading("megatron"), dataclasses.replace(CONFIG, gelu="erf"))
    for found, rows in zip(model.embed(PROTEINS), expected.embed(PROTEINS), strict=True):
        np.testing.assert_allclose(found, rows, atol=1e-5)


def test_it_does_not_guess_hidden_residues(tmp_path: Path):
    from tape_bench.errors import ModelError

    model = load(str(fork_folder(tmp_path / "f")), device="cpu")
    with pytest.raises(ModelError, match="no masked-language-model head"):
        model.token_logits([model.vocabulary.encode("MK")])


def change(folder: Path, how: Callable[[dict[str, Tensor]], object]) -> None:
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    how(state)
    torch.save(state, folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        (lambda s: s.pop("bert.encoder.layer.1.input_ln.weight"), "no bert.encoder.layer.1.input"),
        (lambda s: s.update({"bert.encoder.final_ln.bias": torch.ones(3)}), r"shape \[3\]"),
        (
            lambda s: s["bert.encoder.final_ln.bias"].fill_(float("nan")),
            "not finite",
        ),
    ],
)
def test_folders_that_are_damaged(how: Callable, fault: str, tmp_path: Path):
    folder = fork_folder(tmp_path / "f", legacy=False)
    change(folder, how)
    with pytest.raises(CheckpointError, match=fault):
        load(str(folder), device="cpu").embed(["MK"])


@pytest.mark.parametrize(
    "said", [{"vocab_size": 31}, {"hidden_act": "relu"}, {"num_attention_heads": 5},
             {"num_hidden_layers": "3"}, {"intermediate_size": 64}]
)  # fmt: skip
def test_configurations_of_something_else(said: dict, tmp_path: Path):
    folder = fork_folder(tmp_path / "f")
    whole = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(whole | said))
    with pytest.raises(CheckpointError, match="TAPE fork"):
        load(str(folder))


def test_nothing_need_be_said_of_it(tmp_path: Path):
    with pytest.raises(UsageError, match="knows its shape"):
        load(str(fork_folder(tmp_path / "f")), heads=4)
