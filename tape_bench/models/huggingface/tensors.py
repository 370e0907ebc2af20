"""The tensors of a checkpoint on the hub, read one at a time, and by the names our network has."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from tape_bench.errors import CheckpointError
from tape_bench.models.huggingface.hub import Checkpoint
from tape_bench.models.huggingface.network import weight_files
from tape_bench.models.huggingface.shape import Shape
from tape_bench.models.zip_checksums import READING, check_pickle, check_tensors, is_legacy

Names = tuple[str, ...]
"""One name, or three where queries, keys and values are kept apart."""

_QKV = tuple(f"attention.self.{part}" for part in ("query", "key", "value"))

_ESM_BLOCK: Mapping[str, Names] = {
    "attention_norm": ("attention.LayerNorm",),
    "attention.qkv": _QKV,
    "attention.dense": ("attention.output.dense",),
    "mlp_norm": ("LayerNorm",),
    "mlp.expand": ("intermediate.dense",),
    "mlp.contract": ("output.dense",),
}
_BERT_BLOCK: Mapping[str, Names] = {
    "attention.qkv": _QKV,
    "attention.dense": ("attention.output.dense",),
    "mlp_norm": ("attention.output.LayerNorm",),
    "mlp.expand": ("intermediate.dense",),
    "mlp.contract": ("output.dense",),
}
"""Our names of what a block has, and theirs."""


_WORDS = {"gamma": "weight", "beta": "bias"}


def names(shape: Shape, *, head: bool) -> dict[str, Names]:
    """Return every tensor of a network, our name to theirs; theirs without the model's prefix.

    Args:
        shape: the network's.
        head: whether it has a masked-language-model head.
    """
    modules: dict[str, Names] = {}
    depth = shape.num_hidden_layers
    block = _ESM_BLOCK if shape.kind == "esm" else _BERT_BLOCK
    for layer in range(depth):
        for ours, theirs in block.items():
            modules[f"layers.{layer}.{ours}"] = tuple(f"encoder.layer.{layer}.{n}" for n in theirs)
    if shape.kind == "esm":
        modules["final_norm"] = ("encoder.emb_layer_norm_after",)
        if shape.emb_layer_norm_before:
            modules["embedding_norm"] = ("embeddings.layer_norm",)
        heads = {"mlm_head.dense": "lm_head.dense", "mlm_head.norm": "lm_head.layer_norm"}
        bias = "lm_head.bias"
    else:
        # BERT's norms are handed on by one: see `transformer.bert`.
        norms = [f"encoder.layer.{layer}.output.LayerNorm" for layer in range(depth)]
        modules["layers.0.attention_norm"] = ("embeddings.LayerNorm",)
        for layer, norm in enumerate(norms[:-1], start=1):
            modules[f"layers.{layer}.attention_norm"] = (norm,)
        modules["final_norm"] = (norms[-1],)
        transform = "cls.predictions.transform"
        heads = {"mlm_head.dense": f"{transform}.dense", "mlm_head.norm": f"{transform}.LayerNorm"}
        bias = "cls.predictions.bias"
    if head:
        modules |= {ours: (theirs,) for ours, theirs in heads.items()}
    found: dict[str, Names] = {"word.weight": ("embeddings.word_embeddings.weight",)}
    if not shape.rotary:
        found["position.weight"] = ("embeddings.position_embeddings.weight",)
    if shape.kind == "bert":
        found["token_type.weight"] = ("embeddings.token_type_embeddings.weight",)
    for ours, several in modules.items():
        for part in ("weight", "bias"):
            found[f"{ours}.{part}"] = tuple(f"{theirs}.{part}" for theirs in several)
    if head:
        found["mlm_head.bias"] = (bias,)
    return found


class Tensors:
    """The tensors of a checkpoint, by their own names; a context that closes its files."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Open the files and see what is in them.

        Raises:
            CheckpointError: they cannot be read.
        """
        self._stack = ExitStack()
        self._readers: dict[str, Callable[[], Tensor]] = {}
        for path in weight_files(checkpoint):
            if path.suffix == ".bin":
                self._open_pickle(path)
            else:
                self._open_safetensors(path)

    def __enter__(self) -> Tensors:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        self._readers.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __contains__(self, name: object) -> bool:
        return name in self._readers

    def read(self, name: str) -> Tensor:
        """Read one tensor, in the precision of the file."""
        return self._readers[name]()

    def _open_safetensors(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        try:
            opened = self._stack.enter_context(safe_open(path, framework="pt"))
        except (OSError, SafetensorError) as error:
            raise _broken(path, error) from error
        self._add(opened.keys(), opened.get_tensor)

    def _open_pickle(self, path: Path) -> None:
        check_pickle(path)
        try:
            found = torch.load(
                path, map_location="cpu", weights_only=True, mmap=not is_legacy(path)
            )
        except pickle.UnpicklingError as error:
            raise _broken(path, error) from error
        except READING as error:
            raise _broken(path, error) from error
        tensors = found if isinstance(found, dict) else {}
        if not tensors or not all(
            isinstance(name, str) and isinstance(one, Tensor) for name, one in tensors.items()
        ):
            raise _broken(path, ValueError("it holds no table of tensors"))
        if not is_legacy(path):
            check_tensors(path, tensors)
        self._add(tensors, tensors.__getitem__)

    def _add(self, found: Iterable[str], read: Callable[[str], Tensor]) -> None:
        for name in found:
            self._readers[_current(name)] = partial(read, name)


def _current(name: str) -> str:
    """Spell a layer norm's two as most files do; some have TensorFlow's words for them."""
    start, _, last = name.rpartition(".")
    if not start.endswith(("LayerNorm", "layer_norm")):
        return name
    return f"{start}.{_WORDS.get(last, last)}"


def _broken(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the weights cannot be read: {str(error).splitlines()[0] if str(error) else error!r}",
        where=str(path),
        fix="get the file again",
    )
