"""One file of a Megatron-LM checkpoint, read without running anything in it.

`torch.load(weights_only=True)` builds tensors, plain containers, and what the allow-list below
names; anything else is refused before it could run. The file is memory-mapped: optimizer state,
often six times the size of the model, is never read.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tape_bench import text
from tape_bench.errors import CheckpointError
from tape_bench.models.proteinlm.mapping import flatten
from tape_bench.models.zip_checksums import LEGACY, READING, check_pickle


@dataclass(frozen=True)
class Shard:
    """What one file says; its tensors stay in the file until they are read."""

    path: Path
    tensors: dict[str, Tensor]
    """By dotted path; see `mapping.flatten`."""
    args: Mapping[str, Any] | None
    """Megatron's training arguments, as far as they are plain; None where the file has none."""
    version: float | None
    """`checkpoint_version`; None where the file has none."""
    iteration: int | None
    mapped: bool
    """False for files of before torch 1.6, which cannot be memory-mapped."""


class _LeftOut:
    """Stands in for state that representations do not need, such as a loss scale."""

    def __new__(cls, *_: object) -> _LeftOut:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forget it."""


class _Dtype:
    """Stands in for NumPy's type of a number, of which only the name is believed."""

    def __new__(cls, name: object = "", *_: object) -> _Dtype:
        made = super().__new__(cls)
        made.name = name if name in _NUMBERS else ""
        return made

    name: object

    def __setstate__(self, state: object) -> None:
        """Forget the order of bytes: every machine that trains has the same."""


class _Scalar:
    """Makes Python's numbers of NumPy's, which some training scripts put among their arguments."""

    def __new__(cls, dtype: object = None, raw: object = b"") -> Any:
        name = str(getattr(dtype, "name", ""))
        if name and isinstance(raw, bytes) and len(raw) == np.dtype(name).itemsize:
            return np.frombuffer(raw, name)[0].item()
        return _LeftOut()


_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
_CORES = ("numpy.core", "numpy._core")
_LEFT_OUT = (
    *(f"{core}.multiarray._reconstruct" for core in _CORES),
    "numpy.ndarray",
    *(
        f"{package}.loss_scaler.{name}"
        for package in ("fp16", "megatron.fp16")
        for name in ("LossScaler", "DynamicLossScaler")
    ),
)
"""What random-number and optimizer state is made of: admitted by name, never built."""

_ALLOWED: list[Any] = [
    argparse.Namespace,
    (argparse.Namespace, "types.SimpleNamespace"),
    (_Dtype, "numpy.dtype"),
    *((_Scalar, f"{core}.multiarray.scalar") for core in _CORES),
    *((_LeftOut, name) for name in _LEFT_OUT),
]

_HARMLESS = re.compile(r"megatron(\.\w+)*\.enums\.\w+|pathlib\.(Pure)?(Posix|Windows)?Path")
"""Kinds of arguments that no shape follows from, whose modules need not be there: left out, too."""

_MOST_HARMLESS = 32
"""Of which a file may name so many."""

_MATTER = (
    "num_layers", "hidden_size", "num_attention_heads", "max_position_embeddings",
    "layernorm_epsilon", "bias_gelu_fusion", "openai_gelu",
    "apply_residual_connection_post_layernorm",
)  # fmt: skip
"""Arguments that the network follows from."""

_ZIP = b"PK\x03\x04"
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_shard(path: Path) -> Shard:
    """Open one file of a checkpoint.

    Raises:
        CheckpointError: the file is no checkpoint, is cut short, or pickles something foreign.
    """
    state, mapped = _load(path)
    model = state.get("model") if isinstance(state, Mapping) else None
    if not isinstance(model, Mapping):
        raise CheckpointError(
            "this PyTorch file has no 'model', so it is no Megatron checkpoint", where=str(path)
        )
    try:
        tensors = flatten(model)
    except ValueError as error:
        raise CheckpointError(f"no checkpoint's 'model': {error}", where=str(path)) from None
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not _is_plain(tensor):
            raise CheckpointError(
                f"{text.shown(name)} is not a plain tensor of numbers", where=str(path)
            )
    args = state.get("args")
    return Shard(
        path=path,
        tensors=tensors,
        args=_plain(args, path),
        version=_number(state.get("checkpoint_version"), "checkpoint_version", path),
        iteration=_whole(state.get("iteration", state.get("total_iters"))),
        mapped=mapped,
    )


def release(tensor: Tensor) -> None:
    """Hand back the memory of a tensor that lies in a mapped file, which must not be used again.

    The system keeps pages of a mapped file in the process until the whole mapping goes. Giving
    them back tensor by tensor is what keeps a load at the size of what it keeps.
    """
    if not hasattr(mmap, "MADV_DONTNEED"):
        return
    start = tensor.data_ptr()
    stop = start + tensor.numel() * tensor.element_size()
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    length = stop // mmap.PAGESIZE * mmap.PAGESIZE - first
    if length > 0:
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(first), ctypes.c_size_t(length), mmap.MADV_DONTNEED
        )


def shares_memory(one: Tensor, other: Tensor) -> bool:
    """Tell whether a tensor is a view of another's memory."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _load(path: Path) -> tuple[Any, bool]:
    try:
        with path.open("rb") as file:
            head = file.read(len(LEGACY))
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=str(path)) from error
    mapped = head.startswith(_ZIP)
    if not mapped and head != LEGACY:
        raise CheckpointError(
            "this is no PyTorch checkpoint (its first bytes are those of another kind of file)",
            where=str(path),
            fix="give the file the model's authors publish; if it is an archive, unpack it first",
        )
    check_pickle(path)
    allowed = list(_ALLOWED)
    while True:
        try:
            with torch.serialization.safe_globals(allowed):
                return torch.load(path, map_location="cpu", mmap=mapped, weights_only=True), mapped
        except pickle.UnpicklingError as error:
            foreign = re.search(r"GLOBAL (\S+)", str(error))
            more = len(allowed) < len(_ALLOWED) + _MOST_HARMLESS
            if not (foreign and more and _HARMLESS.fullmatch(foreign[1])):
                raise _refused(path, error) from error
            allowed.append((_LeftOut, foreign[1]))
        except READING as error:
            raise _cut_short(path, error) from error


def _cut_short(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error) or "it ends too soon").splitlines()[0]
    return CheckpointError(
        f"the file is cut short or damaged: {reason}",
        where=str(path),
        fix="compare its size with the published one and get it again",
    )


def _refused(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    foreign = re.search(r"GLOBAL (\S+)", str(error))
    if not foreign:
        return CheckpointError(
            "the file is damaged, or made of what no Megatron checkpoint is made of",
            where=str(path),
            fix="get it again from its authors",
        )
    return CheckpointError(
        f"the file asks to run {foreign[1]!r}, which no Megatron checkpoint needs; "
        "it was refused and nothing of it ran",
        where=str(path),
        fix="do not open it with other tools; get the checkpoint from its authors",
    )


def _plain(args: object, path: Path) -> dict[str, Any] | None:
    """Return training arguments by name, as far as they are plain.

    Raises:
        CheckpointError: they are kept in a form that cannot be read, or one that the network
            follows from is.
    """
    if args is None:
        return None
    named = vars(args) if isinstance(args, argparse.Namespace) else args
    if not isinstance(named, Mapping):
        raise CheckpointError(
            f"the training arguments are a {type(args).__name__}, and cannot be read",
            where=str(path),
            fix="save them as a dict: state['args'] = vars(state['args'])",
        )
    for name in _MATTER:
        if named.get(name) is not None and not isinstance(named[name], int | float | str):
            raise CheckpointError(
                f"the training argument {name} is a {type(named[name]).__name__}, no number",
                where=str(path),
                fix="save it as a plain number",
            )
    return {
        str(name): value for name, value in named.items() if isinstance(value, int | float | str)
    }


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in _PRECISIONS
        and tensor.is_contiguous()
    )


def _number(value: object, name: str, path: Path) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        return float(value)
    raise CheckpointError(f"{name} is {text.shown(value)}, not a number", where=str(path))


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
