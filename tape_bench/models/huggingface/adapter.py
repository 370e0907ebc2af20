"""A model of the hub as transformers computes it: sequences of like length, padded and masked."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tape_bench.errors import DataError, ModelError
from tape_bench.models.as_loaded import state_of
from tape_bench.models.embedder import (
    Identity,
    Network,
    Packed,
    Pool,
    Representation,
    check_request,
)
from tape_bench.models.huggingface.hub import Checkpoint
from tape_bench.models.huggingface.maps import maps_of
from tape_bench.models.huggingface.names import pretraining
from tape_bench.models.huggingface.network import Loaded, load_network, weights_digest
from tape_bench.models.huggingface.reading import reading
from tape_bench.models.huggingface.recipe import Letters, Recipe
from tape_bench.models.huggingface.training import PaddedNetwork
from tape_bench.models.packing import pack
from tape_bench.models.placement import tokens_that_fit
from tape_bench.models.trainable import replace_weights

_TOKENS = {"cpu": 2_048, "cuda": 16_384}
"""Tokens computed together, padding counted, by kind of device."""


class HuggingFace:
    """A model of the hub: a `PackedEmbedder` that shows its attention, too."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: Mapping[str, Any],
        recipe: Recipe,
        vocabulary: Letters,
        *,
        spec: str,
        dtype: torch.dtype,
        device: torch.device,
        layer: int | None = None,
    ) -> None:
        self.checkpoint, self.config, self.recipe = checkpoint, config, recipe
        self.vocabulary = vocabulary
        self.device, self.dtype, self.layer = device, dtype, layer
        self.spec = spec
        self._replaced: Mapping[str, Tensor] = {}
        depth = self.layers
        if layer is not None and not 0 <= layer <= depth:
            raise ModelError(
                f"there is no layer {layer}",
                where=spec,
                fix=f"choose 0 (embeddings) to {depth} (the last layer)",
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """What its user should know; see `Noted`."""
        return (self.recipe.note,) if self.recipe.note else ()

    @cached_property
    def _loaded(self) -> Loaded:
        # Weights read while nothing is to be trained could never be trained.
        with torch.inference_mode(False):
            loaded = load_network(self.checkpoint, self.recipe, self.dtype, self.device)
        replace_weights(loaded.encoder, self._replaced, self.spec)
        self._as_loaded = state_of(loaded.encoder)
        return loaded

    @property
    def encoder(self) -> nn.Module:
        """The network; its weights are read at the first look."""
        return self._loaded.encoder

    @property
    def changed(self) -> bool:
        """Whether the network in memory is no longer what the checkpoint holds."""
        return "_loaded" in vars(self) and state_of(self.encoder) != self._as_loaded

    @cached_property
    def identity(self) -> Identity:
        """Who the model is; the first look at it hashes the weights."""
        digest = weights_digest(self.checkpoint)
        return Identity(
            spec=self.spec,
            name=self.checkpoint.name,
            revision=self.checkpoint.revision or digest[:12],
            weights_digest=digest,
            parameters=sum(weight.numel() for weight in self.encoder.parameters()),
            hidden_size=self.width,
            longest_input=self.recipe.longest,
            pretraining=pretraining(self.checkpoint.repository),
            dtype=str(self.dtype).removeprefix("torch."),
            layer=self.layer,
            reading=reading(self.recipe, self.vocabulary) | {"engine": "transformers"},
        )

    def describe(self) -> Network:
        """Return the shape of the layers gone through; see `Described`."""
        inner = _number(self.config, "intermediate_size", "d_ff") or 4 * self.width
        gated = self.config.get("model_type") == "esmc" or "gated" in str(
            self.config.get("feed_forward_proj", "")
        )
        depth = self.layers if self.layer is None else self.layer
        precision = str(self.dtype).removeprefix("torch.")
        return Network(depth, self.width, inner, precision, str(self.device), gated=gated)

    @property
    def width(self) -> int:
        """Width of one representation."""
        return self._said("hidden_size", "d_model")

    @property
    def layers(self) -> int:
        """Blocks of the network."""
        return self._said("num_hidden_layers", "num_layers")

    def _said(self, *names: str) -> int:
        found = _number(self.config, *names)
        if found is None:
            raise ModelError(
                f"config.json does not say its {names[0]}",
                where=str(self.checkpoint.folder),
                fix="get the file again",
            )
        return found

    @property
    def special_tokens(self) -> int:
        """Tokens added to each sequence."""
        return self.recipe.special_tokens

    def tokens_per_launch(self) -> int:
        """Return the tokens worth computing at once, fewer where the memory is small."""
        per_token = self.width * (3 * 4 + 12 * self.dtype.itemsize)
        return tokens_that_fit(self.device, _TOKENS[self.device.type], per_token)

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences; see `Embedder.embed`."""
        check_request(sequences, pool)
        found: dict[int, Representation] = {}
        lengths = [len(sequence) + self.special_tokens for sequence in sequences]
        for batch in pack(lengths, self.tokens_per_launch(), padded=True):
            launched = self.embed_packed([sequences[index] for index in batch], [pool])
            found.update(zip(batch, launched.representations[pool], strict=True))
        return [found[index] for index in range(len(sequences))]

    @torch.inference_mode()
    def embed_packed(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Packed:
        """Represent sequences in one launch; see `PackedEmbedder`."""
        if "first" in pools and not self.recipe.before:
            raise ModelError(
                f"models of the kind {self.recipe.family} have no first token to pool by",
                where=self.spec,
                fix="use pool 'mean'",
            )
        rows = [self._encode(sequence) for sequence in sequences]
        hidden = self._hidden(rows)
        start = len(self.recipe.before)
        found: dict[Pool, list[Representation]] = {pool: [] for pool in pools}
        for sequence, whole in zip(sequences, hidden, strict=True):
            residues = whole[start : start + len(sequence)].float()
            if not residues.isfinite().all():
                raise self._not_finite()
            pooled: dict[Pool, Tensor] = {
                "residues": residues,
                "mean": residues.mean(dim=0),
                "first": whole[0].float(),
            }
            for pool in pools:
                found[pool].append(pooled[pool].to("cpu", copy=True).numpy())
        return Packed(dict(found), tokens=hidden.shape[0] * hidden.shape[1])

    def to_train(self) -> PaddedNetwork:
        """Return a copy of the network that may be changed; see `Trainable`."""
        with torch.inference_mode(False):
            loaded = load_network(self.checkpoint, self.recipe, torch.float32, self.device)
        replace_weights(loaded.encoder, self._replaced, self.spec)
        return PaddedNetwork(
            loaded.encoder,
            lambda sequences: self._padded([self._encode(sequence) for sequence in sequences]),
            layers=self.layers,
            hidden=self.width,
            depth=self.layer,
            before=len(self.recipe.before),
            after=len(self.recipe.after),
            spec=self.spec,
        )

    def retrained(self, weights: Mapping[str, Tensor], identity: Identity) -> Self:
        """Return the model with some of its weights replaced; see `Trainable`."""
        own = copy.copy(self)
        vars(own).pop("_loaded", None)
        vars(own)["identity"] = identity
        own.spec = identity.spec
        own._replaced = {**self._replaced, **weights}
        return own

    @torch.inference_mode()
    def attention_maps(self, sequence: str) -> Iterator[NDArray[np.float32]]:
        """Yield the attention weights of one sequence; see `AttentionMaps`."""
        ids, mask = self._padded([self._encode(sequence)])
        start, residues = len(self.recipe.before), len(sequence)
        inside = slice(start, start + residues)
        for weights in maps_of(self.encoder, ids, mask):
            yield weights[0, :, inside, inside].float().cpu().numpy()

    def _encode(self, sequence: str) -> NDArray[np.int64]:
        try:
            ids = self.vocabulary.encode(sequence)
        except DataError as error:
            raise ModelError(error.what, where=error.where, fix=error.fix) from None
        self._check_length(len(ids))
        return ids

    def _check_length(self, residues: int) -> None:
        longest = self.recipe.longest
        if residues < 1 or (longest is not None and residues > longest):
            what = f"has {residues} residues" if residues else "is empty"
            most = f"1 to {longest}" if longest else "1 and more"
            raise ModelError(
                f"the sequence {what}; {self.checkpoint.name} reads {most}",
                fix="leave it out, or let the length policy shorten it or cut it into windows",
            )

    def _padded(self, rows: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
        """Put special tokens around rows of residues, and padding behind: ids and mask."""
        before = self.vocabulary.ids_of(self.recipe.before)
        after = self.vocabulary.ids_of(self.recipe.after)
        longest = max(map(len, rows)) + self.special_tokens
        ids = np.full((len(rows), longest), self.vocabulary.pad, np.int64)
        mask = np.zeros_like(ids)
        for number, row in enumerate(rows):
            whole = np.concatenate([before, row, after])
            ids[number, : len(whole)] = whole
            mask[number, : len(whole)] = 1
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(mask).to(self.device)

    def _hidden(self, rows: Sequence[NDArray[np.int64]]) -> Tensor:
        """Return hidden states `[sequences, tokens, hidden]`, special tokens and padding too."""
        ids, mask = self._padded(rows)
        last = self.layer in (None, self.layers)
        encoder = self.encoder
        try:
            found = encoder(input_ids=ids, attention_mask=mask, output_hidden_states=not last)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            # The library believes its configuration, and stumbles where that makes no sense.
            raise ModelError(
                f"the network cannot be computed: {error}",
                where=str(self.checkpoint.folder / "config.json"),
                fix="the configuration is not that of the weights; get the files again",
            ) from error
        chosen: Tensor = found.last_hidden_state if last else found.hidden_states[self.layer]
        return chosen

    def _not_finite(self) -> ModelError:
        half = self.dtype in (torch.float16, torch.bfloat16)
        return ModelError(
            "the vectors are not finite",
            where=f"{self.spec}, {str(self.dtype).removeprefix('torch.')}",
            fix="use --dtype bfloat16 or float32" if half else "get the weights again",
        )


class MaskedHuggingFace(HuggingFace):
    """A model of the hub that also scores hidden residues: a `MaskedLanguageModel`."""

    @torch.inference_mode()
    def token_logits(self, token_ids: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Score every vocabulary entry at every residue; see `MaskedLanguageModel`."""
        if self._loaded.masked is None:
            raise ModelError(
                f"the checkpoint of {self.checkpoint.name} has no masked-language-model head",
                where=self.spec,
                fix=f"use one of {self.recipe.masked}",
            )
        for ids in token_ids:
            self._check_length(len(ids))
        found: dict[int, NDArray[np.float32]] = {}
        lengths = [len(ids) + self.special_tokens for ids in token_ids]
        start = len(self.recipe.before)
        for batch in pack(lengths, self.tokens_per_launch(), padded=True):
            rows, mask = self._padded([token_ids[index] for index in batch])
            logits = self._loaded.masked(input_ids=rows, attention_mask=mask).logits.float()
            for index, whole in zip(batch, logits, strict=True):
                scores = whole[start : start + len(token_ids[index])]
                if not scores.isfinite().all():
                    raise self._not_finite()
                found[index] = scores.to("cpu", copy=True).numpy()
        return [found[index] for index in range(len(token_ids))]


def _number(config: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = config.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None
