"""The shape comes from the checkpoint or the user, and from nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from tape_bench.errors import CheckpointError, ModelError
from tape_bench.models.proteinlm.config import (
    Given,
    Measured,
    ProteinLMConfig,
    settle,
    settle_qkv_order,
)

MEASURED = Measured(layers=2, hidden=8, positions=16, token_types=0, mlm_head=True)
ARGS = {
    "num_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 4,
    "max_position_embeddings": 16,
    "layernorm_epsilon": 1e-12,
    "bias_gelu_fusion": True,
    "openai_gelu": False,
    "onnx_safe": False,
}


def test_args_say_it_all() -> None:
    assert settle(ARGS, MEASURED, Given(), where="x") == ProteinLMConfig(
        layers=2, hidden=8, heads=4, positions=16, layernorm_eps=1e-12, gelu="tanh"
    )


@pytest.mark.parametrize(
    ("fusion", "openai", "onnx", "layers", "head"),
    [
        (True, False, False, "tanh", "erf"),
        (False, False, False, "erf", "erf"),
        (False, False, True, "erf", "erf"),
        (False, True, False, "tanh", "tanh"),
        (True, True, False, "tanh", "tanh"),
        (True, False, True, "tanh", "erf"),
    ],
)
def test_gelu_follows_megatrons_flags(
    fusion: bool, openai: bool, onnx: bool, layers: str, head: str
) -> None:
    args = {**ARGS, "bias_gelu_fusion": fusion, "openai_gelu": openai, "onnx_safe": onnx}
    settled = settle(args, MEASURED, Given(), where="x")
    assert (settled.gelu, settled.head_gelu) == (layers, head)


def test_what_is_said_nowhere_is_named_and_not_guessed() -> None:
    with pytest.raises(CheckpointError, match="-M heads, -M gelu, -M layernorm_eps must be"):
        settle(None, MEASURED, Given(), where="x")
    with pytest.raises(CheckpointError, match="what -M gelu must be"):
        settle(None, MEASURED, Given(heads=4, layernorm_eps=1e-5), where="x")


def test_the_user_fills_in_what_args_leave_out() -> None:
    given = Given(heads=2, gelu="erf", layernorm_eps=1e-5)
    settled = settle(None, MEASURED, given, where="x")
    assert (settled.heads, settled.gelu, settled.layernorm_eps) == (2, "erf", 1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Given(heads=2), "say heads 4, you say 2"),
        (Given(gelu="erf"), "say gelu 'tanh', you say 'erf'"),
        (Given(layernorm_eps=1e-5), "say layernorm_eps 1e-12, you say 1e-05"),
    ],
)
def test_the_user_may_not_contradict_args(given: Given, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        settle(ARGS, MEASURED, given, where="x")


@pytest.mark.parametrize(
    "change", [{"num_attention_heads": 3}, {"num_attention_heads": "4"}, {"layernorm_epsilon": "x"}]
)
def test_impossible_args_are_a_fault_of_the_checkpoint(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="where: x"):
        settle({**ARGS, **change}, MEASURED, Given(), where="x")


@pytest.mark.parametrize("name", ["num_layers", "hidden_size", "max_position_embeddings"])
def test_args_and_tensors_must_agree(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"args say {name} 99"):
        settle({**ARGS, name: 99}, MEASURED, Given(), where="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "3 heads do not divide"),
        ({"layers": 0}, "layers must be"),
        ({"hidden": 8.0}, "hidden must be"),
        ({"positions": True - 1}, "positions must be"),
        ({"layernorm_eps": "tiny"}, "layernorm_eps must lie"),
        ({"layernorm_eps": float("nan")}, "layernorm_eps must lie"),
        ({"gelu": "relu"}, "gelu must be"),
    ],
)
def test_impossible_shapes_are_refused(change: dict[str, Any], message: str) -> None:
    sizes = {"layers": 1, "hidden": 8, "heads": 2, "positions": 4, "layernorm_eps": 0.0}
    with pytest.raises(ModelError, match=message):
        ProteinLMConfig(**{**sizes, "gelu": "erf", **change})


@pytest.mark.parametrize(
    ("version", "order"), [(0.0, "v0"), (1.0, "v1"), (2.0, "v2"), (3.0, "v2"), (None, "v0")]
)
def test_the_version_tells_the_order_of_rows(version: float | None, order: str) -> None:
    settled, notes = settle_qkv_order(version, Given(), has_args=True, where="x")
    assert settled == order
    assert bool(notes) == (version is None), "an absent version leaves a doubt, which is told"


def test_an_order_that_nothing_tells_must_be_given() -> None:
    with pytest.raises(CheckpointError, match="give -M qkv_order"):
        settle_qkv_order(None, Given(), has_args=False, where="x")
    with pytest.raises(CheckpointError, match=r"of version 4\.0"):
        settle_qkv_order(4.0, Given(), has_args=True, where="x")


def test_the_users_order_overrides_and_is_told() -> None:
    settled, notes = settle_qkv_order(3.0, Given(qkv_order="v0"), has_args=True, where="x")
    assert settled == "v0"
    assert "as asked for" in notes[0]
    assert settle_qkv_order(3.0, Given(qkv_order="v2"), has_args=True, where="x") == ("v2", ())
    assert settle_qkv_order(None, Given(qkv_order="v2"), has_args=False, where="x")[0] == "v2"
