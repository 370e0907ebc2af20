"""A Megatron-LM checkpoint as one set of whole weights, whatever its sharding and version.

Everything that can be checked without reading weights is checked on opening: ranks are of one
run, layers are complete, every tensor has its shape, and no tensor is left that nobody asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tape_bench.errors import CheckpointError
from tape_bench.models.proteinlm.config import Given, Measured, settle, settle_qkv_order
from tape_bench.models.proteinlm.mapping import (
    OTHER_HEADS,
    TIED_WORDS,
    VOCABULARY,
    Weight,
    weights,
)
from tape_bench.models.proteinlm.megatron.layout import find
from tape_bench.models.proteinlm.megatron.partition import Rank, by_head, merge
from tape_bench.models.proteinlm.megatron.shard import Shard, read_shard, release, shares_memory
from tape_bench.models.proteinlm.source import Origin
from tape_bench.models.zip_checksums import check_tensors

_EMBEDDING = "language_model.embedding."
_WORDS = f"{_EMBEDDING}word_embeddings.weight"
_TASK_HEAD = ("classification_head.", "language_model.pooler.")
_LAYER = re.compile(r"language_model\.transformer\.layers\.(\d+)\.")
_ARGS_THAT_MATTER = (
    "num_layers",
    "hidden_size",
    "num_attention_heads",
    "max_position_embeddings",
    "layernorm_epsilon",
    "bias_gelu_fusion",
    "openai_gelu",
    "apply_residual_connection_post_layernorm",
)


@dataclass(frozen=True)
class _Place:
    """Where a weight lies: its key, the same in each of the tensor-parallel files."""

    weight: Weight
    key: str
    shards: Sequence[Shard]

    @property
    def parts(self) -> list[Tensor]:
        return [shard.tensors[self.key] for shard in self.shards]


class MegatronCheckpoint:
    """Megatron shards, opened and checked; a `WeightSource`."""

    promised_digest = None

    def __init__(self, path: Path, given: Given | None = None) -> None:
        given = given or Given()
        layout = find(path)
        self._where = str(path)
        self._stages = [[read_shard(file) for file in stage] for stage in layout.shards]
        first = self._stages[0][0]
        self._check_agreement()
        measured = self._measure()
        self.config = settle(first.args, measured, given, where=self._where)
        self.stored_dtype = first.tensors[_WORDS].dtype
        order, doubts = settle_qkv_order(
            first.version, given, has_args=first.args is not None, where=self._where
        )
        self.origin = Origin(
            revision=_named(layout.revision, first.iteration),
            checkpoint_version="absent" if first.version is None else str(first.version),
            qkv_order=order,
        )
        self.files = tuple(shard.path for shard in self._shards)
        self._places = {place.weight.name: place for place in self._place_all()}
        self._shared: set[str] = set()
        self._check_tied_words()
        self.notes = (*doubts, *self._other_notes())

    def check_bytes(self) -> None:
        """Read the weights against the checksums of their files; see `WeightSource`."""
        for shard in self._shards:
            if shard.mapped:
                used = {place.key for place in self._places.values() if shard in place.shards}
                check_tensors(shard.path, {key: shard.tensors[key] for key in sorted(used)})

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
        place = self._places[name]
        stored = place.parts
        parts = stored
        if place.weight.partition == "heads":
            parts = [by_head(p, self.origin.qkv_order, self.config.head_size) for p in stored]
        merged = merge(
            parts,
            place.weight.partition,
            name=name,
            keep=keep,
            dtype=dtype or stored[0].dtype,
            device=device,
            share=share,
        )
        if shares_memory(merged, stored[0]):
            self._shared.add(name)
        for shard, part in zip(place.shards, stored, strict=True):
            if shard.mapped and name not in self._shared:
                release(part)
        return merged.flatten(0, 2) if place.weight.partition == "heads" else merged

    def task_head(self) -> dict[str, Tensor]:
        """Return the weights of a fine-tuned head and of its pooler, in float32, by their keys.

        Every tensor-parallel rank has all of them.
        """
        last = self._stages[-1][0]
        own = {key: t for key, t in last.tensors.items() if key.startswith(_TASK_HEAD)}
        if last.mapped:
            check_tensors(last.path, own)
        return {key: tensor.float() for key, tensor in own.items()}

    @property
    def _shards(self) -> Iterator[Shard]:
        for stage in self._stages:
            yield from stage

    def _check_agreement(self) -> None:
        """See that all files are of one run and that their number is what they say it is."""
        first = self._stages[0][0]
        for shard in self._shards:
            for (what, mine), (_, other) in zip(_said(shard), _said(first), strict=True):
                if mine != other:
                    raise CheckpointError(
                        f"{what} differs between shards: {other} in {first.path.parent.name}, "
                        f"{mine} in {shard.path.parent.name}",
                        where=self._where,
                        fix="shards of two checkpoints are mixed; get one whole checkpoint",
                    )
        args = first.args or {}
        tensor_ranks = args.get("tensor_model_parallel_size") or args.get("model_parallel_size")
        for what, said, found in (
            ("tensor-parallel ranks", tensor_ranks, len(self._stages[0])),
            ("pipeline stages", args.get("pipeline_model_parallel_size"), len(self._stages)),
        ):
            if said is not None and said != found:
                raise CheckpointError(
                    f"args say there are {said} {what}, but {found} can be read here",
                    where=self._where,
                    fix="give the folder that holds all mp_rank_* folders, and see that it does",
                )

    def _measure(self) -> Measured:
        """Read off the tensors what their names and shapes tell."""
        first, last = self._stages[0][0].tensors, self._stages[-1][0].tensors
        positions = f"{_EMBEDDING}position_embeddings.weight"
        for key in (_WORDS, positions):
            if key not in first or first[key].dim() != 2:
                raise CheckpointError(
                    f"{key} is missing; is this a ProteinLM checkpoint?", where=self._where
                )
        types = first.get(f"{_EMBEDDING}tokentype_embeddings.weight")
        fine_tuned = any(key.startswith("classification_head.") for key in last)
        return Measured(
            layers=sum(self._layers_of(stage) for stage in range(len(self._stages))),
            hidden=first[_WORDS].shape[1],
            positions=first[positions].shape[0],
            token_types=0 if types is None else types.shape[0],
            mlm_head=not fine_tuned,
        )

    def _layers_of(self, stage: int) -> int:
        """Count a stage's layers, which it numbers from 0."""
        shard = self._stages[stage][0]
        numbers = {int(found[1]) for key in shard.tensors if (found := _LAYER.match(key))}
        last = max(numbers, default=0)
        missing = next((number for number in range(last + 1) if number not in numbers), None)
        if missing is not None:
            raise CheckpointError(
                f"layer {missing} of {last + 1} is missing",
                where=str(shard.path),
                fix="a stage numbers its layers from 0 without gaps; get a whole checkpoint",
            )
        return len(numbers)

    def _place_all(self) -> Iterator[_Place]:
        """Find every weight of the network, and see that nothing is left over."""
        owners = [
            (stage, local)
            for stage in range(len(self._stages))
            for local in range(self._layers_of(stage))
        ]
        places = []
        for weight in weights(self.config).values():
            stage, local = {"first": 0, "last": len(self._stages) - 1}.get(weight.stage, 0), 0
            if weight.layer is not None:
                stage, local = owners[weight.layer]
            places.append(_Place(weight, weight.megatron.format(local), self._stages[stage]))
        for index, stage_shards in enumerate(self._stages):
            wanted = {place.key for place in places if place.shards is stage_shards}
            for shard in stage_shards:
                self._check_keys(shard, wanted, last=index == len(self._stages) - 1)
        for place in places:
            self._check_shapes(place)
        yield from places

    def _check_keys(self, shard: Shard, wanted: set[str], *, last: bool) -> None:
        missing = sorted(wanted - shard.tensors.keys())
        allowed = (*OTHER_HEADS, TIED_WORDS) if last else ()
        unused = sorted(
            key for key in shard.tensors.keys() - wanted if not key.startswith(tuple(allowed))
        )
        for what, keys in (("tensors are missing", missing), ("tensors have no place", unused)):
            if keys:
                more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
                raise CheckpointError(
                    f"{what}: {', '.join(keys[:5])}{more}",
                    where=str(shard.path),
                    fix="this must be a whole ProteinLM checkpoint, and nothing else",
                )

    def _check_shapes(self, place: _Place) -> None:
        weight, ranks = place.weight, len(place.shards)
        if weight.partition == "heads" and self.config.heads % ranks:
            raise CheckpointError(
                f"{self.config.heads} heads cannot lie on {ranks} tensor-parallel ranks",
                where=self._where,
                fix="check the number of heads, and that all ranks are of one checkpoint",
            )
        expected = list(weight.shape)
        if weight.partition in ("rows", "heads"):
            expected[0] //= ranks
        elif weight.partition == "columns":
            expected[1] //= ranks
        elif weight.partition == "vocabulary":
            # Padding at the end is the file's own affair, as long as each rank pads alike.
            expected[0] = place.parts[0].shape[0]
        for shard, part in zip(place.shards, place.parts, strict=True):
            if list(part.shape) != expected:
                raise CheckpointError(
                    f"{place.key} is {list(part.shape)}, but {expected} is what one of "
                    f"{ranks} tensor-parallel ranks must hold",
                    where=str(shard.path),
                    fix="a rank is missing, or the file is one rank of several: give the "
                    "folder that holds all mp_rank_* folders",
                )
        if weight.partition == "vocabulary" and expected[0] * ranks < VOCABULARY:
            raise CheckpointError(
                f"{place.key} has {expected[0] * ranks} rows; the vocabulary has {VOCABULARY}",
                where=self._where,
                fix="this is not ProteinLM's vocabulary, or a tensor-parallel rank is missing",
            )

    def _check_tied_words(self) -> None:
        """See that the last stage's own copy of the word embeddings is a copy."""
        last = self._stages[-1]
        if TIED_WORDS not in last[0].tensors:
            return
        copies = [shard.tensors[TIED_WORDS] for shard in last if TIED_WORDS in shard.tensors]
        words = self.read("word.weight")
        name = "word_embeddings_for_head"
        copy = merge(copies, "vocabulary", name=name, dtype=words.dtype)
        if not torch.equal(words, copy):
            raise CheckpointError(
                f"{name} of the last pipeline stage is not the first stage's word embeddings",
                where=self._where,
                fix="the stages are of different runs; get one whole checkpoint",
            )

    def _other_notes(self) -> Iterator[str]:
        for prefix, what in OTHER_HEADS.items():
            if any(key.startswith(prefix) for key in self._stages[-1][0].tensors):
                yield f"{what} ({prefix}*) is left out: representations do not go through it"
        if not all(shard.mapped for shard in self._shards):
            yield (
                "files of before torch 1.6 cannot be memory-mapped: all of them was read into "
                "memory, optimizer state included; `tape-bench convert` makes a lean copy"
            )


def _said(shard: Shard) -> Iterator[tuple[str, Any]]:
    """Yield what all shards of a checkpoint must say alike."""
    yield "iteration", shard.iteration
    yield "checkpoint_version", shard.version
    for name in _ARGS_THAT_MATTER:
        yield f"args.{name}", (shard.args or {}).get(name)


def _named(revision: str, iteration: int | None) -> str:
    known = revision != "unknown" or iteration is None
    return revision if known else f"iter_{iteration:07d}"
