"""ProteinLM in the format of the TAPE fork that it was published with.

Its converter and its training write `config.json` and `pytorch_model.bin`. The fork has TAPE's
vocabulary of 30 tokens, keeps queries, keys and values apart, and adds a table of token types,
which its converter fills with zeros. It runs the network with the erf GELU and leaves the last
layer norm out, and so is read here, unless asked otherwise (`reading`). Neither its tail nor its
masked-language-model head is ever carried over from pre-training.
"""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from tape_bench.bounded import parse_json
from tape_bench.data.vocabulary import TAPE_IUPAC
from tape_bench.errors import CheckpointError, ModelError
from tape_bench.models.proteinlm.config import ProteinLMConfig
from tape_bench.models.proteinlm.mapping import weights
from tape_bench.models.proteinlm.megatron.partition import Rank, merge
from tape_bench.models.proteinlm.source import Origin
from tape_bench.models.tensor_files import Tensors

CONFIG, WEIGHTS = "config.json", "pytorch_model.bin"
_LARGEST_CONFIG = 1 << 20
_UNUSED = 5
"""Row of Megatron's vocabulary that TAPE's has not."""

_TABLES = {
    "word": "word_embeddings",
    "position": "position_embeddings",
    "token_type": "token_type_embeddings",
}
_BLOCK = {
    "attention_norm": ("input_ln",),
    "attention.qkv": tuple(f"attention.self.{part}" for part in ("query", "key", "value")),
    "attention.dense": ("attention.dense",),
    "mlp_norm": ("post_attn_ln",),
    "mlp.expand": ("mlp.dense_h_4h",),
    "mlp.contract": ("mlp.dense_4h_h",),
}
"""Our names within a layer, and the fork's."""


class _Said(BaseModel):
    """What the fork's `config.json` says of the network."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    vocab_size: int
    hidden_size: int = Field(ge=1, le=1 << 16)
    num_hidden_layers: int = Field(ge=1, le=1_000)
    num_attention_heads: int = Field(ge=1, le=1 << 12)
    intermediate_size: int
    max_position_embeddings: int = Field(ge=3, le=1 << 22)
    type_vocab_size: int = Field(ge=1, le=1 << 10)
    layer_norm_eps: float = Field(ge=0, lt=1)
    hidden_act: str


def is_fork_folder(path: Path) -> bool:
    """Tell a folder as the fork writes it from one that `tape-bench convert` wrote."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


class ForkFolder:
    """A folder of the fork, opened and checked; a `WeightSource`."""

    promised_digest = None
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        self.config = _config(path / CONFIG)
        self.files = (path / WEIGHTS,)
        self.origin = Origin("fork", checkpoint_version="none", qkv_order="v2")
        self._weights = weights(self.config)
        self._check()
        self.stored_dtype = self._tensors.read(self._names("final_norm.weight")[0]).dtype

    @cached_property
    def _tensors(self) -> Tensors:
        return Tensors(self.files)

    @cached_property
    def _prefix(self) -> str:
        return "bert." if any(name.startswith("bert.") for name in self._tensors) else ""

    def check_bytes(self) -> None:
        """Nothing to read: it was done when the file was opened; see `WeightSource`."""

    def read(
        self,
        name: str,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        keep: Rank = (0, 1),
        share: bool = False,
    ) -> Tensor:
        """Read one weight; see `WeightSource.read`."""
        partition = self._weights[name].partition
        parts = [self._tensors.read(theirs) for theirs in self._names(name)]
        whole = parts[0]
        if partition == "heads":
            by_head = [part.unflatten(0, (self.config.heads, -1)) for part in parts]
            whole = torch.stack(by_head, dim=1)
        elif name == "word.weight":
            unused = whole.new_zeros(1, whole.shape[1])
            whole = torch.cat([whole[:_UNUSED], unused, whole[_UNUSED:]])
        kept = merge(
            [whole],
            partition,
            name=name,
            keep=keep,
            dtype=dtype or whole.dtype,
            device=device,
            share=share,
        )
        return kept.flatten(0, 2) if partition == "heads" else kept

    def _names(self, ours: str) -> tuple[str, ...]:
        """Return what the fork calls a weight of ours."""
        module, _, part = ours.rpartition(".")
        if module in _TABLES:
            return (f"{self._prefix}embeddings.{_TABLES[module]}.weight",)
        if module == "final_norm":
            return (f"{self._prefix}encoder.final_ln.{part}",)
        _, layer, inner = module.split(".", 2)
        return tuple(
            f"{self._prefix}encoder.layer.{layer}.{theirs}.{part}" for theirs in _BLOCK[inner]
        )

    def _check(self) -> None:
        """See that every weight is there, and of the shape that the configuration says."""
        for name, weight in self._weights.items():
            for theirs in self._names(name):
                if theirs not in self._tensors:
                    raise self._wrong(f"there is no {theirs}")
                shape = tuple(self._tensors.read(theirs).shape)
                wanted = weight.shape
                if weight.partition == "heads":
                    wanted = (weight.shape[0] // 3, *weight.shape[1:])
                if name == "word.weight":
                    wanted = (len(TAPE_IUPAC.tokens), weight.shape[1])
                if shape != wanted:
                    raise self._wrong(
                        f"{theirs} has the shape {list(shape)} instead of {list(wanted)}"
                    )

    def _wrong(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"not a folder of ProteinLM's TAPE fork: {what}",
            where=str(self._path / WEIGHTS),
            fix="give a folder that the fork's converter or training wrote; TAPE's own "
            "transformer is read as tape_bert:FOLDER",
        )


def _config(path: Path) -> ProteinLMConfig:
    try:
        with path.open("rb") as file:
            said = _Said.model_validate(parse_json(file.read(_LARGEST_CONFIG).decode()))
        if said.vocab_size != len(TAPE_IUPAC.tokens) or said.hidden_act != "gelu":
            raise ValueError(f"vocab_size {said.vocab_size}, hidden_act {said.hidden_act!r}")
        if said.intermediate_size != 4 * said.hidden_size:
            raise ValueError(f"intermediate_size {said.intermediate_size}")
        return ProteinLMConfig(
            layers=said.num_hidden_layers,
            hidden=said.hidden_size,
            heads=said.num_attention_heads,
            positions=said.max_position_embeddings,
            layernorm_eps=said.layer_norm_eps,
            gelu="erf",
            token_types=said.type_vocab_size,
            mlm_head=False,
        )
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValidationError, json.JSONDecodeError, ValueError, ModelError) as error:
        first = str(error).strip().splitlines()[0]
        raise CheckpointError(
            f"not the configuration of ProteinLM's TAPE fork: {first}",
            where=str(path),
            fix="give a folder that the fork's converter or training wrote",
        ) from None
