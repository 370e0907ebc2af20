"""The one table of names: what each weight is called here, in Megatron-LM, in Hugging Face.

Reading a checkpoint, writing one and converting between them all look up the same rows. The
Hugging Face names are those of its `megatron-bert` architecture, which is this network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from tape_bench.data.vocabulary import MEGATRON_IUPAC
from tape_bench.models.proteinlm.config import ProteinLMConfig

VOCABULARY = len(MEGATRON_IUPAC.tokens)
"""Rows of a word embedding that mean something; checkpoints pad theirs at the end."""

Partition = Literal["whole", "rows", "columns", "heads", "vocabulary"]
"""How tensor-parallel ranks share a weight: every rank has all of it, or its rows, its columns,
the query, key and value rows of its heads, or its rows of the padded vocabulary."""

Stage = Literal["first", "layer", "last"]
"""Which pipeline stage holds a weight: the first, the one its layer is in, or the last."""

_Kind = Literal["norm", "dense", "qkv", "column_parallel", "row_parallel"]


@dataclass(frozen=True)
class Weight:
    """One tensor of the network, under all its names."""

    name: str
    megatron: str
    """Dotted path in `state["model"]`, the layer number left open as `{}`."""
    huggingface: tuple[str, ...]
    """One name, or three where queries, keys and values are kept apart."""
    partition: Partition
    shape: tuple[int, ...]
    stage: Stage
    layer: int | None = None


_MODULES: tuple[tuple[str, str, tuple[str, ...], _Kind, tuple[int, int]], ...] = (
    ("attention_norm", "input_layernorm", ("attention.ln",), "norm", (1, 1)),
    (
        "attention.qkv",
        "attention.query_key_value",
        ("attention.self.query", "attention.self.key", "attention.self.value"),
        "qkv",
        (3, 1),
    ),
    ("attention.dense", "attention.dense", ("attention.output.dense",), "row_parallel", (1, 1)),
    ("mlp_norm", "post_attention_layernorm", ("ln",), "norm", (1, 1)),
    ("mlp.expand", "mlp.dense_h_to_4h", ("intermediate.dense",), "column_parallel", (4, 1)),
    ("mlp.contract", "mlp.dense_4h_to_h", ("output.dense",), "row_parallel", (1, 4)),
)
"""The modules of a layer: our name, Megatron's, Hugging Face's, kind, and the output and input
size in hidden sizes."""

_PARTITIONS: dict[_Kind, tuple[Partition, Partition]] = {
    "norm": ("whole", "whole"),
    "dense": ("whole", "whole"),
    "qkv": ("heads", "heads"),
    "column_parallel": ("rows", "rows"),
    # The bias is added once, after the partial products are summed: every rank has all of it.
    "row_parallel": ("columns", "whole"),
}
"""How ranks share the weight and the bias of a module."""

TIED_WORDS = "word_embeddings_for_head.weight"
"""The last pipeline stage's own copy of the word embeddings."""

OTHER_HEADS = {
    "language_model.pooler.": "the pooler",
    "binary_head.": "the next-sentence head",
    "classification_head.": "the head of a fine-tuned task",
}
"""Parts of other training runs, which representations do not go through."""


def weights(config: ProteinLMConfig) -> dict[str, Weight]:
    """List every tensor a network of this shape has, by our name."""
    return {weight.name: weight for weight in _listed(config)}


def _listed(config: ProteinLMConfig) -> Iterator[Weight]:
    hidden = config.hidden
    yield _table("word", "word_embeddings", "vocabulary", (VOCABULARY, hidden))
    yield _table("position", "position_embeddings", "whole", (config.positions, hidden))
    if config.token_types:
        yield _table("token_type", "tokentype_embeddings", "whole", (config.token_types, hidden))
    for layer in range(config.layers):
        for ours, megatron, huggingface, kind, (out, into) in _MODULES:
            yield from _module(
                f"layers.{layer}.{ours}",
                f"language_model.transformer.layers.{{}}.{megatron}",
                tuple(f"bert.encoder.layer.{layer}.{name}" for name in huggingface),
                kind,
                (out * hidden, into * hidden),
                layer,
            )
    square = (hidden, hidden)
    final_norm = "language_model.transformer.final_layernorm"
    yield from _module("final_norm", final_norm, ("bert.encoder.ln",), "norm", square)
    if config.mlm_head:
        head = "cls.predictions"
        transform = f"{head}.transform"
        dense, norm = (f"{transform}.dense",), (f"{transform}.LayerNorm",)
        yield from _module("mlm_head.dense", "lm_head.dense", dense, "dense", square)
        yield from _module("mlm_head.norm", "lm_head.layernorm", norm, "norm", square)
        rows = (VOCABULARY,)
        yield Weight("mlm_head.bias", "lm_head.bias", (f"{head}.bias",), "vocabulary", rows, "last")


def _table(name: str, megatron: str, partition: Partition, shape: tuple[int, int]) -> Weight:
    huggingface = megatron.replace("tokentype", "token_type")
    return Weight(
        name=f"{name}.weight",
        megatron=f"language_model.embedding.{megatron}.weight",
        huggingface=(f"bert.embeddings.{huggingface}.weight",),
        partition=partition,
        shape=shape,
        stage="first",
    )


def _module(
    name: str,
    megatron: str,
    huggingface: tuple[str, ...],
    kind: _Kind,
    shape: tuple[int, int],
    layer: int | None = None,
) -> Iterator[Weight]:
    """Yield the weight and the bias of a linear map or a layer norm."""
    bias = shape[:1]
    shapes = (bias if kind == "norm" else shape, bias)
    for part, partition, of_part in zip(("weight", "bias"), _PARTITIONS[kind], shapes, strict=True):
        yield Weight(
            name=f"{name}.{part}",
            megatron=f"{megatron}.{part}",
            huggingface=tuple(f"{module}.{part}" for module in huggingface),
            partition=partition,
            shape=of_part,
            stage="last" if layer is None else "layer",
            layer=layer,
        )


_DEEPEST = 16
"""Dictionaries within each other in `state["model"]`; Megatron has four."""


def flatten(model: Mapping[str, Any]) -> dict[str, Any]:
    """Turn Megatron's nested `state["model"]` into dotted paths, old spellings made current.

    Raises:
        ValueError: a dictionary stands in it twice, or they are nested deeper than any model is.
    """
    flat: dict[str, Any] = {}
    waiting: list[tuple[str, Mapping[str, Any], int]] = [("", model, 0)]
    seen = {id(model)}
    while waiting:
        prefix, inside, depth = waiting.pop()
        for key, value in inside.items():
            if isinstance(value, Mapping):
                if id(value) in seen or depth == _DEEPEST:
                    raise ValueError("its dictionaries hold each other, as no model's do")
                seen.add(id(value))
                waiting.append((f"{prefix}{key}.", value, depth + 1))
            else:
                flat[_current(f"{prefix}{key}")] = value
    return flat


def nest(flat: Mapping[str, Tensor]) -> dict[str, Any]:
    """Lay dotted paths out as Megatron nests them: the inverse of `flatten`."""
    model: dict[str, Any] = {}
    for path, tensor in flat.items():
        folder = next(folder for folder in _FOLDERS if path.startswith(f"{folder}."))
        inside = model
        for name in folder.split("."):
            inside = inside.setdefault(name, {})
        inside[path.removeprefix(f"{folder}.")] = tensor
    return model


_FOLDERS = (
    "language_model.embedding.word_embeddings",
    "language_model.embedding.position_embeddings",
    "language_model.embedding.tokentype_embeddings",
    "language_model.transformer",
    "lm_head",
    "word_embeddings_for_head",
)
"""Where nesting ends in a Megatron checkpoint and flat, dotted names begin."""

_OLD_TABLE = re.compile(r"^language_model\.(?=\w+_embeddings\.)")
_OLD_LAYER = re.compile(r"^language_model\.transformer\.transformer\.")


def _current(path: str) -> str:
    """Spell a path as current checkpoints do; very old ones are flatter."""
    path = _OLD_TABLE.sub("language_model.embedding.", path)
    return _OLD_LAYER.sub("language_model.transformer.", path)
