"""One file is read without running anything in it, and without reading what nobody needs."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tape_bench.errors import CheckpointError
from tape_bench.models.proteinlm.megatron.shard import read_shard, release

MODEL = {"language_model": {"embedding": {"word_embeddings": {"weight": torch.ones(2, 3)}}}}
WORDS = "language_model.embedding.word_embeddings.weight"


def save(path: Path, *, legacy: bool = False, **state: Any) -> Path:
    torch.save({"model": MODEL, **state}, path, _use_new_zipfile_serialization=not legacy)
    return path


def random_state() -> dict[str, Any]:
    """What Megatron saves of its random-number generators."""
    return {
        "np_rng_state": np.random.RandomState(0).get_state(),
        "torch_rng_state": torch.get_rng_state(),
        "rng_tracker_states": {"model-parallel-rng": torch.get_rng_state()},
        "scalar": np.float32(1),
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_a_training_file_is_read_for_what_it_says(tmp_path: Path, legacy: bool) -> None:
    args = argparse.Namespace(num_layers=3, params_dtype=torch.float16)
    said = {"args": args, "checkpoint_version": 3.0, "iteration": 120}
    shard = read_shard(save(tmp_path / "x.pt", legacy=legacy, **said, **random_state()))
    assert shard.args is not None
    assert shard.args["num_layers"] == 3
    assert (shard.version, shard.iteration, shard.mapped) == (3.0, 120, not legacy)
    assert torch.equal(shard.tensors[WORDS], torch.ones(2, 3))


def test_args_are_kept_as_far_as_they_are_plain(tmp_path: Path) -> None:
    args = argparse.Namespace(num_layers=3, rank=torch.ones(2), data=["a"], hidden_size=None)
    shard = read_shard(save(tmp_path / "x.pt", args=args))
    assert shard.args == {"num_layers": 3}


def test_old_files_count_iterations_under_another_name(tmp_path: Path) -> None:
    shard = read_shard(save(tmp_path / "x.pt", total_iters=7))
    assert (shard.iteration, shard.version, shard.args) == (7, None, None)


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_random_state_of_either_numpy_is_passed_over(tmp_path: Path, core: str) -> None:
    path = save(tmp_path / "x.pt", np_rng_state=np.random.RandomState(0).get_state())
    rewrite(path, rb"cnumpy(\._core|\.core)\.multiarray\n", f"c{core}.multiarray\n".encode())
    assert core.encode() in zipfile.ZipFile(path).read("x/data.pkl")
    assert read_shard(path).iteration is None


@pytest.mark.parametrize("module", ["fp16.loss_scaler", "megatron.fp16.loss_scaler"])
def test_loss_scalers_of_old_files_are_passed_over(tmp_path: Path, module: str) -> None:
    """Their classes are nowhere to import from."""
    path = save(tmp_path / "x.pt", optimizer={"loss_scaler": Stand(scale=4.0)})
    rewrite(path, rb"c[\w.]+\nStand\n", f"c{module}\nDynamicLossScaler\n".encode())
    assert WORDS in read_shard(path).tensors


class Stand:
    def __init__(self, scale: float) -> None:
        self.scale = scale


class Malicious:
    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("function", "named"), [(exec, "exec"), (__import__("os").system, "system"), (eval, "eval")]
)
def test_a_foreign_call_is_refused_by_name_and_not_run(
    tmp_path: Path, function: Callable[..., Any], named: str, legacy: bool
) -> None:
    trace = tmp_path / "ran"
    code = f"open({str(trace)!r}, 'w')" if named != "system" else f"touch {trace}"
    path = save(tmp_path / "x.pt", legacy=legacy, payload=Malicious(function, code))
    with pytest.raises(CheckpointError, match=named) as caught:
        read_shard(path)
    assert "nothing of it ran" in str(caught.value)
    assert not trace.exists()


def test_a_foreign_class_is_refused_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt", extra=Fraction(1, 2))
    with pytest.raises(CheckpointError, match=r"fractions\S*Fraction"):
        read_shard(path)


def test_optimizer_state_is_never_read(tmp_path: Path) -> None:
    moments = torch.full((15_000_000,), 7.0)
    path = save(tmp_path / "x.pt", optimizer={"exp_avg": moments})
    del moments
    before = resident_bytes()
    shard = read_shard(path)
    shard.tensors[WORDS].sum()
    assert path.stat().st_size > 60_000_000
    assert resident_bytes() - before < 15_000_000


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def test_released_pages_leave_the_process(tmp_path: Path) -> None:
    weight = torch.ones(4_000_000)
    path = tmp_path / "x.pt"
    torch.save({"model": {"w": weight}}, path)
    del weight
    tensor = read_shard(path).tensors["w"]
    assert tensor.sum() == 4_000_000
    before = resident_bytes()
    release(tensor)
    assert before - resident_bytes() > 14_000_000
    assert tensor.sum() == 4_000_000, "a mapped file is read again where it is looked at again"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "no PyTorch checkpoint", id="empty"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\n", "no PyTorch", id="pointer"),
        pytest.param(b"PK\x03\x04 and then nothing", "cut short or damaged", id="no zip at all"),
        pytest.param(pickle.dumps({"model": {}}), "no PyTorch checkpoint", id="plain pickle"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        read_shard(path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, legacy: bool, kept: float) -> None:
    path = save(tmp_path / "x.pt", legacy=legacy, more=torch.ones(1000))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        read_shard(path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        pytest.param([1, 2], "no Megatron checkpoint", id="a list"),
        pytest.param({"weights": 1}, "no 'model'", id="no model"),
        pytest.param({"model": torch.ones(2)}, "no 'model'", id="model is a tensor"),
        pytest.param({"model": {"w": "text"}}, "'w' is not a plain tensor", id="text"),
        pytest.param({"model": {"w": torch.ones(2, dtype=torch.int64)}}, "plain", id="integers"),
        pytest.param({"model": {"w": torch.ones(4, 4).T[1:]}}, "plain", id="strided"),
        pytest.param({"model": {"w": torch.eye(2).to_sparse()}}, "plain", id="sparse"),
        pytest.param({"model": {}, "checkpoint_version": "3"}, "not a number", id="version"),
    ],
)
def test_other_pytorch_files_are_refused(tmp_path: Path, state: object, message: str) -> None:
    torch.save(state, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        read_shard(tmp_path / "x.pt")


def test_a_file_of_unknown_make_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pt")
    rewrite(path, rb"^\x80\x02", b"\x80\x02p")
    with pytest.raises(CheckpointError, match="damaged"):
        read_shard(path)


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_shard(tmp_path / "x.pt")


def rewrite(path: Path, pattern: bytes, replacement: bytes) -> None:
    """Change the pickled part of a checkpoint, as another program would have written it."""
    import re

    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            if name.endswith("data.pkl"):
                content = re.sub(pattern, replacement, content)
            archive.writestr(name, content)


def nested(times: int) -> dict:
    inner: dict = {}
    for _ in range(times):
        inner = {"a": inner, "b": inner}
    return inner


def deep(times: int) -> dict:
    inner: dict = {}
    for _ in range(times):
        inner = {"a": inner}
    return inner


def own() -> dict:
    inner: dict = {}
    inner["a"] = inner
    return inner


@pytest.mark.parametrize(
    "model",
    [nested(14), nested(40), deep(50), deep(300), own()],
    ids=["14", "40", "50", "300", "own"],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_dictionaries_that_never_end_are_refused_at_once(
    tmp_path: Path, model: dict, legacy: bool
) -> None:
    path = tmp_path / "x.pt"
    torch.save({"model": model}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"damaged|hold each other"):
        read_shard(path)
