"""ESM-1b, ESM-2, SaProt, ProtBert and their like on our own network, without padding.

The weights are read from the files straight away, one at a time, as many as this process computes
with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from tape_bench import kernels
from tape_bench.errors import CheckpointError
from tape_bench.models.embedder import Identity, Network
from tape_bench.models.huggingface.hub import Checkpoint
from tape_bench.models.huggingface.names import pretraining
from tape_bench.models.huggingface.network import weight_files, weights_digest
from tape_bench.models.huggingface.reading import reading
from tape_bench.models.huggingface.recipe import Letters, Recipe
from tape_bench.models.huggingface.shape import Shape
from tape_bench.models.huggingface.weight_names import names
from tape_bench.models.proteinlm.mapping import Partition
from tape_bench.models.proteinlm.megatron.partition import merge
from tape_bench.models.tensor_files import Tensors
from tape_bench.models.transformer.adapter import PackedTransformer
from tape_bench.models.transformer.bert import BertEncoder
from tape_bench.models.transformer.encoder import Encoder
from tape_bench.models.transformer.esm import EsmEncoder
from tape_bench.parallel.tensor import ALONE, TensorParallel

_SHARED: tuple[tuple[str, Partition], ...] = (
    (r"\.attention\.qkv\.", "heads"),
    (r"\.mlp\.expand\.", "rows"),
    (r"\.(attention\.dense|mlp\.contract)\.weight$", "columns"),
)
"""What tensor-parallel processes have a part of each; they have all of everything else."""

_LEFT = re.compile(r"(^|\.)(pooler\.|contact_head\.|position_ids$|inv_freq$)")
"""What representations and token scores do not go through."""

_TIED = ("lm_head.decoder.weight", "cls.predictions.decoder.weight")
"""Second names of the word embeddings."""


class PackedHuggingFace(PackedTransformer):
    """A model of the hub on the packed path."""

    vocabulary: Letters

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: Shape,
        recipe: Recipe,
        vocabulary: Letters,
        *,
        spec: str,
        dtype: torch.dtype,
        device: torch.device,
        layer: int | None = None,
        tensor_parallel: TensorParallel = ALONE,
    ) -> None:
        multiplies = kernels.arithmetic(dtype, device)
        super().__init__(
            Network(
                layers=network.num_hidden_layers,
                hidden=network.hidden_size,
                inner=network.intermediate_size,
                dtype=str(multiplies).removeprefix("torch."),
                device=str(device),
            ),
            spec=spec,
            dtype=dtype,
            device=device,
            layer=layer,
            tensor_parallel=tensor_parallel,
        )
        self.checkpoint, self.network, self.recipe = checkpoint, network, recipe
        self.vocabulary = vocabulary
        self.before = vocabulary.ids_of(recipe.before)
        self.after = vocabulary.ids_of(recipe.after)
        self.multiplies = multiplies

    @property
    def longest(self) -> int | None:
        """Most residues of a sequence; None for no limit."""
        return self.recipe.longest

    @property
    def notes(self) -> tuple[str, ...]:
        """What its user should know; see `Noted`."""
        return (self.recipe.note,) if self.recipe.note else ()

    @cached_property
    def identity(self) -> Identity:
        """Who the model is; the first look at it hashes the weights."""
        digest = weights_digest(self.checkpoint)
        with torch.device("meta"):
            whole = _built(self.network, head=False)
        read = reading(self.recipe, self.vocabulary) | {"engine": "packed"}
        if self.multiplies != self.dtype:
            read["arithmetic"] = str(self.multiplies).removeprefix("torch.")
        return Identity(
            spec=self.spec,
            name=self.checkpoint.name,
            revision=self.checkpoint.revision or digest[:12],
            weights_digest=digest,
            parameters=sum(weight.numel() for weight in whole.parameters()),
            hidden_size=self.network.hidden_size,
            longest_input=self.recipe.longest,
            pretraining=pretraining(self.checkpoint.repository),
            dtype=str(self.dtype).removeprefix("torch."),
            layer=self.layer,
            reading=read,
        )

    def load_encoder(self) -> Encoder:
        """Build the network around its weights.

        Raises:
            CheckpointError: weights are missing, left over, of another shape or not finite.
        """
        with Tensors(weight_files(self.checkpoint)) as tensors:
            prefix = next(
                (p for p in ("esm.", "bert.") if any(n.startswith(p) for n in tensors)), ""
            )
            head = self.recipe.masked is not None and any(
                name.startswith(("lm_head.", "cls.predictions.")) for name in tensors
            )
            with torch.device("meta"):
                encoder = _built(self.network, head=head, parallel=self._tensor_parallel)
            state = {
                ours: self._read(tensors, ours, theirs, prefix)
                for ours, theirs in self._names(tensors, prefix, head).items()
            }
        wanted = {name: tuple(weight.shape) for name, weight in encoder.state_dict().items()}
        for name, shape in wanted.items():
            if tuple(state[name].shape) != shape:
                raise self._wrong(
                    f"{name} has the shape {list(state[name].shape)}, and config.json says "
                    f"{list(shape)}"
                )
        encoder.load_state_dict(state, assign=True)
        return encoder.eval().requires_grad_(False)

    def published(self) -> Mapping[str, tuple[str, ...]]:
        """Return what the hub calls the linear maps; see `PackedTransformer.published`."""
        end = ".weight"
        return {
            ours.removesuffix(end): tuple(name.removesuffix(end) for name in theirs)
            for ours, theirs in names(self.network, head=False).items()
            if ours.startswith("layers.") and ours.endswith(end)
        }

    def _names(self, tensors: Tensors, prefix: str, head: bool) -> dict[str, tuple[str, ...]]:
        """Return every tensor's names in the file, and see that they are just the ones there."""
        bare = names(self.network, head=head)
        full = {
            ours: tuple(
                n if n.startswith(("lm_head.", "cls.")) else prefix + n for n in theirs
            )
            for ours, theirs in bare.items()
        }  # fmt: skip
        wanted = {name for theirs in full.values() for name in theirs}
        if lost := sorted(wanted - set(tensors)):
            raise self._wrong(
                f"the checkpoint lacks {len(lost)} weights of {self.recipe.architecture}: {lost[0]}"
                + (", …" if len(lost) > 1 else "")
            )
        inside = [n for n in tensors if prefix and n.startswith(prefix) and not _LEFT.search(n)]
        if more := sorted(set(inside) - wanted):
            raise self._wrong(
                f"the checkpoint has too many, by {len(more)} weights of "
                f"{self.recipe.architecture}: {more[0]}" + (", …" if len(more) > 1 else "")
            )
        words = tensors.read(full["word.weight"][0])
        for name in _TIED if head else ():
            if name in tensors and not torch.equal(tensors.read(name), words):
                raise CheckpointError(
                    f"{name} differs from the word embeddings",
                    where=str(self.checkpoint.folder),
                    fix="use -M engine=transformers, which reads heads of their own",
                )
        return full

    def _read(self, tensors: Tensors, ours: str, theirs: tuple[str, ...], prefix: str) -> Tensor:
        """Read what this process has of a weight."""
        parts = [tensors.read(name) for name in theirs]
        for name, part in zip(theirs, parts, strict=True):
            if not part.is_floating_point() or not part.isfinite().all():
                raise self._wrong(f"{name} has values that are not finite")
        shared = (how for mark, how in _SHARED if re.search(mark, ours))
        partition: Partition = next(shared, "whole")
        heads = self.network.num_attention_heads
        if len(parts) == 3:
            rows = {part.shape[0] for part in parts}
            if len(rows) > 1 or rows.pop() % heads:
                raise self._wrong(f"{theirs[0]} is of another shape than config.json says")
            whole = torch.stack([part.unflatten(0, (heads, -1)) for part in parts], dim=1)
        else:
            (whole,) = parts
        if ours == "position.weight" and self.network.kind == "esm":
            whole = whole[self.network.pad_token_id + 1 :]
        kept = merge(
            [whole],
            partition,
            name=ours,
            keep=(self._tensor_parallel.rank, self._tensor_parallel.size),
            dtype=self.dtype,
            device=self.device,
        )
        return kept.flatten(0, 2) if len(parts) == 3 else kept

    def _wrong(self, what: str) -> CheckpointError:
        return CheckpointError(
            what,
            where=str(self.checkpoint.folder),
            fix="get the files again; see that config.json and the weights belong together",
        )


def _built(shape: Shape, *, head: bool, parallel: TensorParallel = ALONE) -> Encoder:
    if shape.kind == "bert":
        return BertEncoder(
            layers=shape.num_hidden_layers,
            hidden=shape.hidden_size,
            heads=shape.num_attention_heads,
            inner=shape.intermediate_size,
            positions=shape.places,
            vocabulary=shape.vocab_size,
            token_types=shape.type_vocab_size,
            layernorm_eps=shape.layer_norm_eps,
            mlm_head=head,
            parallel=parallel,
        )
    return EsmEncoder(
        layers=shape.num_hidden_layers,
        hidden=shape.hidden_size,
        heads=shape.num_attention_heads,
        inner=shape.intermediate_size,
        vocabulary=shape.vocab_size,
        layernorm_eps=shape.layer_norm_eps,
        positions=shape.places,
        embedding_norm=shape.emb_layer_norm_before,
        mask=shape.mask_token_id if shape.token_dropout else None,
        mlm_head=head,
        parallel=parallel,
    )
