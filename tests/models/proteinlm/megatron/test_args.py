"""Training arguments in the forms that Megatron-LM and scripts around it leave them in."""

from __future__ import annotations

import enum
import pathlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tape_bench.errors import CheckpointError
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import ProteinLMConfig, load
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.proteinlm.megatron.writer import Sharding

CONFIG = ProteinLMConfig(
    layers=2, hidden=32, heads=4, positions=64, layernorm_eps=1e-12, gelu="tanh"
)
PROTEIN = "MKTAYIAKQR"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    weights = RandomWeights(CONFIG, 1, stored_dtype=torch.float16)
    convert(weights, tmp_path / "ck", to="megatron", sharding=Sharding(1, 1, "3.0"))
    return tmp_path / "ck"


def edit(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    (path,) = root.glob("*/mp_rank_*/model_optim_rng.pt")
    state = torch.load(path, weights_only=False)
    change(state)
    torch.save(state, path)


def vectors(root: Path, **options: Any) -> np.ndarray:
    return load(str(root), **options).embed([PROTEIN], "mean")[0]


def foreign(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return an enum as another program would have defined it."""
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        made = ".".join(parts[:count])
        monkeypatch.setitem(sys.modules, made, types.ModuleType(made))
    made_class = enum.Enum(name, {"encoder_or_decoder": 1}, module=module)
    setattr(sys.modules[module], name, made_class)
    return made_class


@pytest.mark.parametrize(
    "module", ["megatron.core.enums", "megatron.model.enums", "megatron.enums"]
)
def test_enums_of_megatron(module: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    plain = vectors(checkpoint)
    value = foreign(module, "ModelType", monkeypatch)(1)
    edit(checkpoint, lambda state: setattr(state["args"], "model_type", value))
    monkeypatch.undo()
    np.testing.assert_array_equal(vectors(checkpoint), plain)


def test_an_enum_of_anybody_else_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    value = foreign("evil.enums", "ModelType", monkeypatch)(1)
    edit(checkpoint, lambda state: setattr(state["args"], "model_type", value))
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="refused and nothing of it ran"):
        load(str(checkpoint))


def test_paths_lists_and_dicts_among_them(checkpoint: Path):
    plain = vectors(checkpoint)

    def change(state: dict[str, Any]) -> None:
        state["args"].save = pathlib.PurePosixPath("/checkpoints/3b")
        state["args"].load = pathlib.Path("/checkpoints/3b")
        state["args"].data_path = ["a", "b"]
        state["args"].blend = {"a": 0.5, "b": [1, {"c": None}]}

    edit(checkpoint, change)
    np.testing.assert_array_equal(vectors(checkpoint), plain)


def test_numbers_of_numpy_are_believed(checkpoint: Path):
    plain = vectors(checkpoint)

    def change(state: dict[str, Any]) -> None:
        args = state["args"]
        args.num_layers, args.num_attention_heads = np.int64(2), np.int32(4)
        args.layernorm_epsilon, args.openai_gelu = np.float64(1e-12), np.bool_(False)

    edit(checkpoint, change)
    np.testing.assert_array_equal(vectors(checkpoint), plain)

    def contradict(state: dict[str, Any]) -> None:
        state["args"].num_layers = np.int64(3)

    edit(checkpoint, contradict)
    with pytest.raises(CheckpointError, match="args say num_layers 3"):
        load(str(checkpoint))


@pytest.mark.parametrize("form", [vars, lambda args: types.SimpleNamespace(**vars(args))])
def test_another_container_is_believed_as_a_namespace_is(form: Callable, checkpoint: Path):
    plain = vectors(checkpoint)

    def after_norm(state: dict[str, Any]) -> None:
        state["args"].apply_residual_connection_post_layernorm = True

    edit(checkpoint, after_norm)
    other = vectors(checkpoint)
    assert abs(other - plain).max() > 1e-3
    edit(checkpoint, lambda state: state.update(args=form(state["args"])))
    np.testing.assert_array_equal(vectors(checkpoint), other)


@pytest.mark.parametrize("args", [["num_layers", 2], "num_layers=2", 7])
def test_arguments_that_cannot_be_read_are_not_dropped(args: object, checkpoint: Path):
    edit(checkpoint, lambda state: state.update(args=args))
    with pytest.raises(CheckpointError, match="training arguments are a"):
        load(str(checkpoint), heads=4, gelu="tanh", layernorm_eps=1e-12)


def test_an_argument_that_matters_and_is_no_number(checkpoint: Path):
    edit(checkpoint, lambda state: setattr(state["args"], "num_attention_heads", [4]))
    with pytest.raises(CheckpointError, match="num_attention_heads is a list"):
        load(str(checkpoint))
