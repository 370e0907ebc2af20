"""Which networks of the hub run on our own packed path, and what shape they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tape_bench.models.huggingface.recipe import Recipe

PACKED = {"EsmModel": "esm", "BertModel": "bert"}
"""Classes of transformers whose networks are ours too."""


class Shape(BaseModel):
    """What `config.json` says of an ESM or BERT network that runs on the packed path."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    kind: Literal["esm", "bert"]
    num_hidden_layers: int = Field(ge=1, le=1_000)
    hidden_size: int = Field(ge=1, le=1 << 20)
    num_attention_heads: int = Field(ge=1, le=1 << 16)
    intermediate_size: int = Field(ge=1, le=1 << 22)
    vocab_size: int = Field(ge=1, le=1 << 20)
    max_position_embeddings: int = Field(default=512, ge=1, le=1 << 22)
    layer_norm_eps: float = Field(ge=0, lt=1)
    position_embedding_type: Literal["absolute", "rotary"] = "absolute"
    hidden_act: Literal["gelu"] = "gelu"
    emb_layer_norm_before: bool = False
    token_dropout: bool = False
    pad_token_id: int = Field(default=0, ge=0)
    mask_token_id: int | None = None
    type_vocab_size: int = Field(default=2, ge=0, le=1 << 10)

    @property
    def rotary(self) -> bool:
        """Whether queries and keys are turned, instead of places looked up."""
        return self.position_embedding_type == "rotary"

    @property
    def places(self) -> int:
        """Rows of the table of positions that tokens have; ESM's begins behind the padding's."""
        if self.rotary:
            return 0
        skipped = self.pad_token_id + 1 if self.kind == "esm" else 0
        return self.max_position_embeddings - skipped


def shape_of(config: Mapping[str, Any], recipe: Recipe) -> Shape | None:
    """Return the shape of a network that runs on the packed path; None for one that does not."""
    kind = PACKED.get(recipe.architecture)
    said = {name: value for name, value in config.items() if value is not None}
    try:
        shape = Shape.model_validate({**said, "kind": kind})
    except ValidationError:
        return None
    odd = (
        shape.hidden_size % shape.num_attention_heads
        or (shape.rotary and shape.hidden_size // shape.num_attention_heads % 2)
        or (kind == "bert" and (shape.rotary or shape.type_vocab_size < 1))
        or config.get("is_decoder")
        or config.get("rope_theta", 10_000.0) != 10_000.0
        or shape.places < 0
    )
    return None if odd else shape
