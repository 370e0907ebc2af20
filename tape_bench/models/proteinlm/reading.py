"""How representations are read off the network: two readings, and what goes around a sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tape_bench.errors import unknown_name

SpecialTokens = Literal["cls", "cls_sep"]
"""`[CLS]` before the residues, as in pre-training, or also `[SEP]` after them, as TAPE feeds it."""

_DEFAULT_TOKENS: dict[str, SpecialTokens] = {"megatron": "cls", "fork": "cls_sep"}


@dataclass(frozen=True)
class Reading:
    """How representations are read off the network."""

    name: str = "megatron"
    """`megatron`: as pre-trained, with the final layer norm and the GELU of its training.
    `fork`: as the published TAPE fork ran it, erf GELU and no final layer norm."""
    special_tokens: SpecialTokens | None = None
    """None for what goes with the reading: `cls` for megatron, `cls_sep` for fork."""
    layer: int | None = None
    """Number of layers to go through; None for all. Before the last, no layer norm is applied."""

    def __post_init__(self) -> None:
        if self.name not in _DEFAULT_TOKENS:
            raise unknown_name("reading", self.name, _DEFAULT_TOKENS)
        if self.special_tokens not in (None, "cls", "cls_sep"):
            raise unknown_name("choice of special tokens", self.special_tokens, ("cls", "cls_sep"))

    @property
    def tokens(self) -> SpecialTokens:
        """The special tokens in use."""
        return self.special_tokens or _DEFAULT_TOKENS[self.name]
