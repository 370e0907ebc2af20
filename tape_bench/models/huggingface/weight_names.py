"""What each tensor of a checkpoint on the hub is called, and what our network calls it."""

from __future__ import annotations

from collections.abc import Mapping

from tape_bench.models.huggingface.shape import Shape

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
