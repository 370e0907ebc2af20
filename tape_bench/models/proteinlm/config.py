"""The shape of a ProteinLM network, settled from what its checkpoint says; nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tape_bench import text
from tape_bench.errors import CheckpointError, ModelError

LARGEST = 1 << 24
"""What no size of a network reaches: layers, channels, heads, positions."""

Gelu = Literal["tanh", "erf"]
QkvOrder = Literal["v0", "v1", "v2"]
"""How query, key and value rows lie in one rank's fused weight: `[3, heads, head]`,
`[heads, head, 3]` or `[heads, 3, head]`. The shapes are equal, so a wrong order shows nowhere
but in the values."""


@dataclass(frozen=True)
class ProteinLMConfig:
    """Everything about a ProteinLM network that its weights do not hold."""

    layers: int
    hidden: int
    heads: int
    positions: int
    """Length of the position table: special tokens and residues together."""
    layernorm_eps: float
    gelu: Gelu
    """Form of the activation inside the layers."""
    head_gelu: Gelu = "erf"
    """Form of the activation inside the masked-language-model head."""
    residual_after_norm: bool = False
    """True where the residual is taken after the layer norm instead of before it."""
    token_types: int = 0
    """Rows of the token-type table; ProteinLM as published has none."""
    mlm_head: bool = True
    """False for a fine-tuned checkpoint, whose head answers another question."""

    def __post_init__(self) -> None:
        for name in ("layers", "hidden", "heads", "positions"):
            value = getattr(self, name)
            if not _is_whole(value) or not 1 <= value <= LARGEST:
                raise ModelError(
                    f"{name} must be a whole number from 1 to {LARGEST}, not {text.shown(value)}"
                )
        if not _is_whole(self.token_types) or not 0 <= self.token_types <= LARGEST:
            raise ModelError(
                f"token_types must be a whole number from 0 to {LARGEST}, not "
                f"{text.shown(self.token_types)}"
            )
        for name in ("residual_after_norm", "mlm_head"):
            if not isinstance(getattr(self, name), bool):
                given = text.shown(getattr(self, name))
                raise ModelError(f"{name} must be true or false, not {given}")
        if self.hidden % self.heads:
            raise ModelError(
                f"{self.heads} heads do not divide the hidden size {self.hidden}",
                fix="give the number of heads the model was trained with",
            )
        if not isinstance(self.layernorm_eps, float) or not 0 <= self.layernorm_eps < 1:
            raise ModelError(
                f"layernorm_eps must lie in [0, 1), not {text.shown(self.layernorm_eps)}"
            )
        for name in ("gelu", "head_gelu"):
            if getattr(self, name) not in ("tanh", "erf"):
                given = text.shown(getattr(self, name))
                raise ModelError(f"{name} must be 'tanh' or 'erf', not {given}")

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads


@dataclass(frozen=True)
class Given:
    """What the user says about a checkpoint that does not say it itself."""

    heads: int | None = None
    gelu: Gelu | None = None
    layernorm_eps: float | None = None
    qkv_order: QkvOrder | None = None
    """Also overrides what the checkpoint's version says: tools are known to drop or change it."""


@dataclass(frozen=True)
class Measured:
    """What the tensors themselves say."""

    layers: int
    hidden: int
    positions: int
    token_types: int
    mlm_head: bool


def settle(
    args: Mapping[str, Any] | None, measured: Measured, given: Given, *, where: str
) -> ProteinLMConfig:
    """Settle the shape from the training arguments, the tensors, and what the user gives.

    Args:
        args: Megatron's `args` as saved in the checkpoint; None where the file has none.
        measured: read off the tensors; `args` must agree.
        given: the user's word, needed where `args` is silent; it may not contradict `args`.
        where: the checkpoint, for messages.

    Raises:
        CheckpointError: something is said nowhere, or two sources disagree.
    """
    said = dict(args or {})
    for name, value in (
        ("num_layers", measured.layers),
        ("hidden_size", measured.hidden),
        ("max_position_embeddings", measured.positions),
    ):
        if said.get(name, value) != value:
            raise CheckpointError(
                f"args say {name} {text.shown(said[name])}, the tensors say {value}",
                where=where,
                fix="the checkpoint is incomplete or was put together from two; get a whole one",
            )
    heads = _settle_one("heads", said.get("num_attention_heads"), given.heads, where)
    eps = _settle_one("layernorm_eps", said.get("layernorm_epsilon"), given.layernorm_eps, where)
    try:
        said_gelu = _layer_gelu(said)
    except ModelError as error:
        raise CheckpointError(error.what, where=where) from error
    gelu = _settle_one("gelu", said_gelu, given.gelu, where)
    missing = [
        option
        for option, value in (("-M heads", heads), ("-M gelu", gelu), ("-M layernorm_eps", eps))
        if value is None
    ]
    if missing:
        raise CheckpointError(
            f"the checkpoint does not say what {', '.join(missing)} must be, "
            "and the tensors cannot tell",
            where=where,
            fix=f"give {', '.join(missing)} as in training (ProteinLM-200M: 16 heads, tanh, 1e-12)",
        )
    try:
        return ProteinLMConfig(
            layers=measured.layers,
            hidden=measured.hidden,
            heads=heads,
            positions=measured.positions,
            layernorm_eps=eps,
            gelu=gelu,
            head_gelu="tanh" if _flag(said, "openai_gelu") else "erf",
            residual_after_norm=_flag(said, "apply_residual_connection_post_layernorm"),
            token_types=measured.token_types,
            mlm_head=measured.mlm_head,
        )
    except ModelError as error:
        raise CheckpointError(error.what, where=where, fix=error.fix) from error


_ORDER_OF_VERSION: dict[float | None, QkvOrder] = {
    None: "v0",
    0.0: "v0",
    1.0: "v1",
    2.0: "v2",
    3.0: "v2",
}


def settle_qkv_order(
    version: float | None, given: Given, *, has_args: bool, where: str
) -> tuple[QkvOrder, tuple[str, ...]]:
    """Settle how query, key and value rows lie, with a note where there is any doubt.

    Args:
        version: `checkpoint_version` of the file; None where it has none.
        given: the user's word, which overrides the version's.
        has_args: whether the file has training arguments. One with neither was written by a
            tool that drops both, and may have any order.
        where: the checkpoint, for messages.

    Raises:
        CheckpointError: nothing says how the rows lie.
    """
    said = _ORDER_OF_VERSION.get(version)
    name = "without a version" if version is None else f"of version {version}"
    if given.qkv_order is not None:
        asked = (
            f"query, key and value rows are read in order {given.qkv_order}, as asked for; in a "
            f"checkpoint {name} they should lie in order {said or 'unknown'}"
        )
        return given.qkv_order, () if given.qkv_order == said else (asked,)
    if said is None or (version is None and not has_args):
        raise CheckpointError(
            f"nothing says how query, key and value rows lie in a checkpoint {name}"
            + ("" if has_args else " and without args"),
            where=where,
            fix="give -M qkv_order=v2 if Megatron's merging tool wrote it from version 2 or 3, "
            "v0 if it is older; `tape-bench perplexity` shows which is right",
        )
    if version is None:
        return said, (
            "no checkpoint_version: query, key and value rows are read in order v0, as Megatron "
            "does; if `tape-bench perplexity` is poor, try -M qkv_order=v2",
        )
    return said, ()


def _settle_one(name: str, said: Any, given: Any, where: str) -> Any:
    if said is not None and given is not None and said != given:
        raise CheckpointError(
            f"args of the checkpoint say {name} {text.shown(said)}, you say {given!r}",
            where=where,
            fix=f"leave {name} out: the checkpoint knows what it was trained with",
        )
    return given if said is None else said


def _is_whole(value: object) -> bool:
    # True is a whole number to Python, and to nobody else.
    return isinstance(value, int) and not isinstance(value, bool)


def _flag(args: Mapping[str, Any], name: str) -> bool:
    """Return a flag of Megatron's arguments, False where it is not among them.

    Raises:
        ModelError: it is neither true nor false: any text would count as true.
    """
    value = args.get(name, False)
    if value not in (True, False):
        raise ModelError(f"{name} must be true or false, not {text.shown(value)}")
    return bool(value)


def _layer_gelu(args: Mapping[str, Any]) -> Gelu | None:
    """Tell the GELU form of the layers; the fused kernel, which is tanh, comes before the rest.

    `onnx_safe` is erf with the root of two cut to five decimals: the same to 1e-5.
    """
    if "bias_gelu_fusion" not in args:
        return None
    return "tanh" if _flag(args, "bias_gelu_fusion") or _flag(args, "openai_gelu") else "erf"
