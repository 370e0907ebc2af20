"""A transformer on the packed path as a model: sequences in, representations and scores out.

Sequences of a launch lie end to end, without padding. On a GPU one launch is prepared while the
last is computed, and what overflows in half precision is computed again in float32.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench import kernels
from tape_bench.data.vocabulary import Vocabulary
from tape_bench.errors import DataError, ModelError
from tape_bench.models.as_loaded import state_of
from tape_bench.models.embedder import (
    Batch,
    Identity,
    Network,
    Packed,
    Pool,
    Representation,
    check_request,
)
from tape_bench.models.packed import Layout, fetch, finite_sequences, finite_tokens
from tape_bench.models.packing import pack
from tape_bench.models.placement import tokens_that_fit
from tape_bench.models.trainable import replace_weights
from tape_bench.models.transformer.encoder import Encoder
from tape_bench.models.transformer.training import PackedNetwork
from tape_bench.parallel.tensor import ALONE, TensorParallel

_TOKENS_ON_CPU = 2_000
"""More tokens in one go make nothing faster, and cost memory."""

_TOKENS_ON_GPU = 16_384
"""Tokens that keep a GPU busy for a tenth of a second in a network of 3B."""

_LARGE = 2_000_000_000
"""Weights in the layers of a network that so many tokens are right for; smaller ones take more."""

_MOST = 6
"""How many times as many at most."""

_FINITE = "finite"


class PackedTransformer(ABC):
    """A transformer: a `QueuedEmbedder`, a `MaskedLanguageModel`, and it shows its attention.

    A family says who the model is, how its network is loaded and what goes around a sequence.
    """

    vocabulary: Vocabulary
    """The model's tokens."""
    before: tuple[int, ...]
    """Ids of the tokens put before the residues."""
    after: tuple[int, ...]
    """Ids of the tokens put after them."""
    _replaced: Mapping[str, Tensor] = {}
    """Weights that are not the checkpoint's."""

    def __init__(
        self,
        shape: Network,
        *,
        spec: str,
        dtype: torch.dtype,
        device: torch.device,
        layer: int | None = None,
        tensor_parallel: TensorParallel = ALONE,
    ) -> None:
        """Prepare a model whose weights are read when they are first needed.

        Args:
            shape: of the whole network.
            spec: what the user typed.
            dtype: precision of the weights.
            device: where they are.
            layer: blocks to go through; None for all.
            tensor_parallel: this process's part.

        Raises:
            ModelError: there is no such layer.
        """
        self.shape = shape
        self.dtype, self.device, self.layer = dtype, device, layer
        self.spec = spec
        self._tensor_parallel = tensor_parallel
        if layer is not None and not 0 <= layer <= shape.layers:
            raise ModelError(
                f"there is no layer {layer}",
                where=spec,
                fix=f"choose 0 (embeddings) to {shape.layers} (the last layer)",
            )

    @property
    @abstractmethod
    def identity(self) -> Identity:
        """Who the model is."""

    @property
    @abstractmethod
    def longest(self) -> int | None:
        """Most residues of a sequence; None for no limit."""

    @abstractmethod
    def load_encoder(self) -> Encoder:
        """Build the network around its weights."""

    @cached_property
    def encoder(self) -> Encoder:
        """The network; its weights are read at the first look.

        A run that finds all representations in the cache never looks.

        Raises:
            CheckpointError: the weights are damaged or not finite.
        """
        # Weights read while nothing is to be trained could never be trained.
        with torch.inference_mode(False):
            encoder = self.load_encoder()
        replace_weights(encoder, self._replaced, self.spec)
        self._as_loaded = state_of(encoder)
        return encoder

    def to_train(self) -> PackedNetwork:
        """Return a copy of the network that may be changed; see `Trainable`."""
        if self._tensor_parallel.size > 1:
            raise ModelError(
                "processes that share one network have a part of it each",
                fix="train without --tensor-parallel",
            )
        own = copy.copy(self)
        vars(own).pop("encoder", None)
        own.dtype = torch.float32
        return PackedNetwork(own.encoder, own._lay_out, self.published(), own)

    def retrained(self, weights: Mapping[str, Tensor], identity: Identity) -> Self:
        """Return the model with some of its weights replaced; see `Trainable`."""
        own = copy.copy(self)
        vars(own).pop("encoder", None)
        vars(own)["identity"] = identity
        own.spec = identity.spec
        own._replaced = {**self._replaced, **weights}
        return own

    def published(self) -> Mapping[str, tuple[str, ...]]:
        """Return what the blocks' linear maps are called elsewhere, by our names of their weights.

        One name, or three where queries, keys and values are kept apart; none where ours will do.
        """
        return {}

    def _lay_out(self, sequences: Sequence[str]) -> Layout:
        return self._laid_out(*self._encoded(sequences))

    @property
    def changed(self) -> bool:
        """Whether the network in memory is no longer what the checkpoint holds."""
        return "encoder" in vars(self) and state_of(self.encoder) != self._as_loaded

    def describe(self) -> Network:
        """Return the shape of the layers gone through; see `Described`."""
        depth = self.shape.layers if self.layer is None else self.layer
        return dataclasses.replace(self.shape, layers=depth)

    @property
    def special_tokens(self) -> int:
        """Tokens added to each sequence."""
        return len(self.before) + len(self.after)

    def tokens_per_launch(self) -> int:
        """Return the tokens worth computing at once, fewer where the memory is small."""
        # What is free is asked for beside the weights, and is asked often: it must not change.
        wanted = _TOKENS_ON_CPU
        if self.device.type == "cuda":
            assert self.encoder is not None
            shape = self.shape
            weights_of_layers = shape.layers * shape.hidden * (4 * shape.hidden + 2 * shape.inner)
            wanted = _TOKENS_ON_GPU * min(max(_LARGE // weights_of_layers, 1), _MOST)
        width = kernels.arithmetic(self.dtype, self.device).itemsize
        # In a layer, float32 stream and norms, and activations of which the widened ones are most.
        per_token = self.shape.hidden * (3 * 4 + 12 * width)
        fit = tokens_that_fit(self.device, wanted, per_token)
        # Processes that compute one network must form the same batches.
        return self._tensor_parallel.least(fit)

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences; see `Embedder.embed`. `first` is the vector of the first token."""
        check_request(sequences, pool)
        self._check_lengths(np.array([len(sequence) for sequence in sequences], np.int64))
        lengths = [len(sequence) + self.special_tokens for sequence in sequences]
        found: dict[int, Representation] = {}
        for batch in pack(lengths, self.tokens_per_launch()):
            launched = self.embed_packed([sequences[index] for index in batch], [pool])
            # Copies: a view would keep the whole launch in memory.
            rows = (one.copy() for one in launched.representations[pool])
            found.update(zip(batch, rows, strict=True))
        return [found[index] for index in range(len(sequences))]

    def embed_packed(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Packed:
        """Represent sequences in one launch; see `PackedEmbedder`."""
        return self.queue_packed(sequences, pools)()

    @property
    def launches_ahead(self) -> int:
        """One on a GPU: the host prepares the next batch while the GPU computes this one."""
        return int(self.device.type == "cuda")

    @torch.no_grad()
    def queue_packed(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Callable[[], Packed]:
        """Begin a launch, and return what waits for it; see `QueuedEmbedder`."""
        layout = self._lay_out(sequences)
        waiting = self._computed(layout, pools)

        def collect() -> Packed:
            found = waiting()
            fine = finite_sequences(found.pop(_FINITE), layout.lengths)
            by_pool = {pool: self._apart(found[pool], layout, pool) for pool in pools}
            again = np.flatnonzero(~fine).tolist()
            if again:
                self._compute_again([sequences[index] for index in again], again, by_pool)
            return Packed(by_pool, tokens=int(layout.lengths.sum()), recomputed=len(again))

        return collect

    @torch.no_grad()
    def token_logits(self, token_ids: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Score every vocabulary entry at every residue; see `MaskedLanguageModel`."""
        if self.encoder.mlm_head is None:
            raise ModelError(
                "this checkpoint has no masked-language-model head",
                where=self.spec,
                fix="use the pre-trained checkpoint, not a fine-tuned one or a bare encoder",
            )
        lengths = np.array([len(ids) for ids in token_ids], np.int64)
        found: dict[int, NDArray[np.float32]] = {}
        for batch in pack((lengths + self.special_tokens).tolist(), self.tokens_per_launch()):
            ids = np.concatenate([token_ids[index] for index in batch])
            logits = self._logits(self._laid_out(ids, lengths[batch]))
            found.update(zip(batch, logits, strict=True))
        return [found[index] for index in range(len(token_ids))]

    @torch.no_grad()
    def attention_maps(self, sequence: str) -> Iterator[NDArray[np.float32]]:
        """Yield the attention weights of one sequence; see `AttentionMaps`."""
        if self._tensor_parallel.size > 1:
            raise ModelError(
                "processes that share one network have some of its heads each",
                fix="ask for attention maps without --tensor-parallel",
            )
        layout = self._lay_out([sequence])
        inside = slice(len(self.before), len(self.before) + len(sequence))
        for weights in self.encoder.attention_maps(layout):
            yield weights[:, inside, inside].float().cpu().numpy()

    def _encoded(self, sequences: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the token ids of sequences end to end, and the residues of each."""
        try:
            ids, offsets = self.vocabulary.encode_many(sequences)
        except DataError as error:
            raise ModelError(error.what, where=error.where, fix=error.fix) from error
        return ids, np.diff(offsets)

    def _laid_out(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> Layout:
        self._check_lengths(lengths)
        return Layout.of(ids, lengths, self.device, before=self.before, after=self.after)

    def _computed(
        self, layout: Layout, pools: Sequence[Pool]
    ) -> Callable[[], dict[str, NDArray[Any]]]:
        """Have representations computed and copied to the host; return what waits for them."""
        with self._told_of_memory(layout):
            rows = self.encoder.forward_laid_out(layout, self.layer)
            values: dict[str, Tensor] = {_FINITE: finite_tokens(rows)}
            for pool in pools:
                if pool == "residues":
                    values[pool] = rows
                elif pool == "first":
                    values[pool] = rows[layout.offsets[:-1]]
                else:
                    values[pool] = kernels.segment_mean(
                        rows, layout.offsets, len(self.before), len(self.after)
                    )
            return fetch(values)

    @torch.no_grad()
    def _compute_again(
        self,
        sequences: Sequence[str],
        places: Sequence[int],
        by_pool: Mapping[Pool, Batch],
    ) -> None:
        """Compute sequences that overflowed in float32, and put their vectors in place."""
        if self.dtype not in (torch.float16, torch.bfloat16):
            raise self._not_finite("vectors")
        layout = self._lay_out(sequences)
        with self._in_float32():
            found = self._computed(layout, list(by_pool))()
        if not found[_FINITE].all():
            raise self._not_finite("vectors")
        for pool, representations in by_pool.items():
            apart = self._apart(found[pool], layout, pool)
            for place, representation in zip(places, apart, strict=True):
                representations[place] = representation

    def _logits(self, layout: Layout) -> list[NDArray[np.float32]]:
        with self._told_of_memory(layout):
            rows = self.encoder.token_logits_laid_out(layout)
            if not finite_tokens(rows).all() and self.dtype in (torch.float16, torch.bfloat16):
                with self._in_float32():
                    rows = self.encoder.token_logits_laid_out(layout)
        if not finite_tokens(rows).all():
            raise self._not_finite("logits")
        whole = fetch({"logits": rows})()["logits"]
        return [part.copy() for part in self._apart(whole, layout, "residues")]

    def _apart(self, values: NDArray[np.float32], layout: Layout, pool: Pool) -> Batch:
        """Cut what lies end to end into one array a sequence; residues lose special tokens."""
        if pool != "residues":
            return values
        ends = np.cumsum(layout.lengths)
        starts = (ends - layout.lengths + len(self.before)).tolist()
        stops = (ends - len(self.after)).tolist()
        return [values[start:stop] for start, stop in zip(starts, stops, strict=True)]

    @contextmanager
    def _in_float32(self) -> Iterator[None]:
        """Compute in float32: half-precision weights survive the journey there and back."""
        self.encoder.float()
        try:
            yield
        finally:
            self.encoder.to(self.dtype)

    @contextmanager
    def _told_of_memory(self, layout: Layout) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError:
            if self._tensor_parallel.size == 1:
                raise
            # Nobody can try again with less: the partners are in the middle of this batch.
            tokens = int(layout.lengths.sum())
            raise ModelError(
                f"the memory of tensor-parallel processes does not hold {tokens} tokens",
                where=str(self.device),
                fix=f"use more of them, or --tokens-per-batch {max(tokens // 2, 1)}",
            ) from None

    def _not_finite(self, what: str) -> ModelError:
        return ModelError(
            f"the {what} are not finite even in float32",
            where=self.spec,
            fix="the weights are damaged; get the checkpoint again",
        )

    def _check_lengths(self, lengths: NDArray[np.int64]) -> None:
        most = self.longest
        wrong = np.flatnonzero((lengths < 1) | (lengths > (most or np.inf)))
        if wrong.size:
            length = int(lengths[wrong[0]])
            what = f"has {length} residues" if length else "is empty"
            reads = f"1 to {most}" if most else "1 and more"
            raise ModelError(
                f"the sequence {what}; this model reads {reads}",
                where=f"sequence {wrong[0] + 1}",
                fix="leave it out, or let the length policy shorten it or cut it into windows",
            )
