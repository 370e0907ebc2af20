"""ProteinLM as a model adapter: sequences in, representations and token scores out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench import kernels, paths
from tape_bench.data.vocabulary import MEGATRON_IUPAC, Vocabulary
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
from tape_bench.models.placement import choose_device, choose_dtype, tokens_that_fit
from tape_bench.models.proteinlm.checkpoint import (
    load_encoder,
    open_checkpoint,
    remembered_digest,
)
from tape_bench.models.proteinlm.config import Gelu, Given, QkvOrder
from tape_bench.models.proteinlm.encoder import Encoder
from tape_bench.models.proteinlm.mapping import weights
from tape_bench.models.proteinlm.reading import Reading, SpecialTokens
from tape_bench.models.proteinlm.source import WeightSource
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


def load(
    argument: str | None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    reading: str = "megatron",
    special_tokens: SpecialTokens | None = None,
    layer: int | None = None,
    qkv_order: QkvOrder | None = None,
    heads: int | None = None,
    gelu: Gelu | None = None,
    layernorm_eps: float | None = None,
    tensor_parallel: TensorParallel = ALONE,
) -> ProteinLM:
    """Load ProteinLM from a checkpoint.

    Args:
        argument: path of a Megatron checkpoint root, `iter_*` or `release` folder,
            `model_optim_rng.pt`, or converted folder.
        dtype: precision to compute in; None for float32 on a CPU, and on a GPU what the
            checkpoint has. Residual stream, layer norms and softmax are float32 in any case, and
            so are matrix products on a CPU that is slow in the precision: it then has weights
            of half the size, at almost the speed of float32.
        device: `cpu`, `cuda` or `cuda:N`; None for a GPU where there is one.
        reading: `megatron` or `fork`; see `Reading`.
        special_tokens: `cls` or `cls_sep`; None for what goes with the reading.
        layer: number of layers to go through; None for all.
        qkv_order: how query, key and value rows lie, against what the checkpoint says.
        heads: number of attention heads, where the checkpoint does not say.
        gelu: `tanh` or `erf`, where the checkpoint does not say.
        layernorm_eps: where the checkpoint does not say.
        tensor_parallel: this process's part of a network that several compute together.

    Raises:
        CheckpointError: the checkpoint is missing, broken, foreign, unsafe or incomplete. The
            weights themselves are read when they are first needed.
        ModelError: the options ask for what the model or the machine does not have.
    """
    if not argument:
        raise ModelError("proteinlm needs a checkpoint", fix="write proteinlm:PATH")
    path = paths.expand(argument)
    given = Given(heads, gelu, layernorm_eps, qkv_order)
    return ProteinLM(
        lambda: open_checkpoint(path, given),
        Reading(reading, special_tokens, layer),
        spec=f"proteinlm:{argument}",
        name=_short_name(path),
        pretraining=("Pfam",),
        dtype=dtype,
        device=device,
        tensor_parallel=tensor_parallel,
    )


class ProteinLM:
    """ProteinLM, trained or untrained: a `PackedEmbedder` and a `MaskedLanguageModel`."""

    def __init__(
        self,
        open_source: Callable[[], WeightSource],
        reading: Reading,
        *,
        spec: str,
        name: str,
        pretraining: tuple[str, ...],
        control: bool = False,
        dtype: str | None = None,
        device: str | None = None,
        tensor_parallel: TensorParallel = ALONE,
    ) -> None:
        source = open_source()
        self.reading = reading
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device, source.stored_dtype)
        self.notes = source.notes
        self._open_source = open_source
        self._tensor_parallel = tensor_parallel
        self._origin = source.origin
        self._spec = spec
        self._name = name
        self._pretraining = pretraining
        self._control = control
        config = source.config
        if reading.name == "fork":
            config = dataclasses.replace(config, gelu="erf")
        if reading.layer is not None and not 0 <= reading.layer <= config.layers:
            raise ModelError(
                f"there is no layer {reading.layer}",
                where=spec,
                fix=f"choose 0 (embeddings) to {config.layers} (the last layer)",
            )
        self.config = config

    @cached_property
    def encoder(self) -> Encoder:
        """The network; its weights are read at the first look.

        A run that finds all representations in the cache never looks.

        Raises:
            CheckpointError: the weights are damaged or not finite.
        """
        source = self._open_source()
        # Nothing is computed with weights that nobody has looked at.
        remembered_digest(source)
        encoder = load_encoder(
            source,
            self.config,
            dtype=self.dtype,
            device=self.device,
            normalise_output=self.reading.name == "megatron",
            parallel=self._tensor_parallel,
        )
        self._as_loaded = state_of(encoder)
        return encoder

    @property
    def changed(self) -> bool:
        """Whether the network in memory is no longer what the checkpoint holds."""
        return "encoder" in vars(self) and state_of(self.encoder) != self._as_loaded

    @cached_property
    def identity(self) -> Identity:
        """Who the model is; the first look at it hashes the weights.

        It hashes the file, not the network, whose weights may be of another precision or, while
        it is fine-tuned, of another value.
        """
        return Identity(
            spec=self._spec,
            name=self._name,
            revision=self._origin.revision,
            weights_digest=remembered_digest(self._open_source()),
            parameters=sum(math.prod(weight.shape) for weight in weights(self.config).values()),
            hidden_size=self.config.hidden,
            longest_input=self._longest,
            pretraining=self._pretraining,
            dtype=str(self.dtype).removeprefix("torch."),
            layer=self.reading.layer,
            reading={
                "reading": self.reading.name,
                "special_tokens": self.reading.tokens,
                "gelu": self.config.gelu,
                "layernorm_eps": str(self.config.layernorm_eps),
                "checkpoint_version": self._origin.checkpoint_version,
                "qkv_order": self._origin.qkv_order,
            }
            | self._unlike_its_weights,
            control=self._control,
        )

    @property
    def _unlike_its_weights(self) -> dict[str, str]:
        arithmetic = kernels.arithmetic(self.dtype, self.device)
        if arithmetic == self.dtype:
            return {}
        return {"arithmetic": str(arithmetic).removeprefix("torch.")}

    def describe(self) -> Network:
        """Return the shape of the layers gone through; see `Described`."""
        depth = self.config.layers if self.reading.layer is None else self.reading.layer
        multiplies = kernels.arithmetic(self.dtype, self.device)
        return Network(
            layers=depth,
            hidden=self.config.hidden,
            inner=4 * self.config.hidden,
            dtype=str(multiplies).removeprefix("torch."),
            device=str(self.device),
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """ProteinLM's 31 tokens."""
        return MEGATRON_IUPAC

    @property
    def special_tokens(self) -> int:
        """Tokens added to each sequence: `[CLS]`, and `[SEP]` in one reading."""
        return 1 + self._trailing

    def tokens_per_launch(self) -> int:
        """Return the tokens worth computing at once, fewer where the memory is small."""
        # What is free is asked for beside the weights, and is asked often: it must not change.
        wanted = _TOKENS_ON_CPU
        if self.device.type == "cuda":
            assert self.encoder is not None
            weights_of_layers = 12 * self.config.layers * self.config.hidden**2
            wanted = _TOKENS_ON_GPU * min(max(_LARGE // weights_of_layers, 1), _MOST)
        width = kernels.arithmetic(self.dtype, self.device).itemsize
        # In a layer, float32 stream and norms, and activations of which the widened ones are most.
        per_token = self.config.hidden * (3 * 4 + 12 * width)
        fit = tokens_that_fit(self.device, wanted, per_token)
        # Processes that compute one network must form the same batches.
        return self._tensor_parallel.least(fit)

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences; see `Embedder.embed`. `first` is the vector of `[CLS]`."""
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
        try:
            ids, offsets = self.vocabulary.encode_many(sequences)
        except DataError as error:
            raise ModelError(error.what, where=error.where, fix=error.fix) from error
        layout = self._laid_out(ids, np.diff(offsets))
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
                "this checkpoint is fine-tuned and has no masked-language-model head",
                where=self._spec,
                fix="use the pre-trained checkpoint",
            )
        lengths = np.array([len(ids) for ids in token_ids], np.int64)
        found: dict[int, NDArray[np.float32]] = {}
        for batch in pack((lengths + self.special_tokens).tolist(), self.tokens_per_launch()):
            ids = np.concatenate([token_ids[index] for index in batch])
            logits = self._logits(self._laid_out(ids, lengths[batch]))
            found.update(zip(batch, logits, strict=True))
        return [found[index] for index in range(len(token_ids))]

    @property
    def _longest(self) -> int:
        return self.config.positions - 1 - self._trailing

    @property
    def _trailing(self) -> int:
        """Special tokens after the residues; before them stands `[CLS]` alone."""
        return 1 if self.reading.tokens == "cls_sep" else 0

    def _laid_out(self, ids: NDArray[np.int64], lengths: NDArray[np.int64]) -> Layout:
        self._check_lengths(lengths)
        before, after = (self.vocabulary.cls,), (self.vocabulary.sep,) * self._trailing
        return Layout.of(ids, lengths, self.device, before=before, after=after)

    def _computed(
        self, layout: Layout, pools: Sequence[Pool]
    ) -> Callable[[], dict[str, NDArray[Any]]]:
        """Have representations computed and copied to the host; return what waits for them."""
        with self._told_of_memory(layout):
            rows = self.encoder.forward_laid_out(layout, self.reading.layer)
            values: dict[str, Tensor] = {_FINITE: finite_tokens(rows)}
            for pool in pools:
                if pool == "residues":
                    values[pool] = rows
                elif pool == "first":
                    values[pool] = rows[layout.offsets[:-1]]
                else:
                    values[pool] = kernels.segment_mean(rows, layout.offsets, 1, self._trailing)
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
        ids, offsets = self.vocabulary.encode_many(sequences)
        layout = self._laid_out(ids, np.diff(offsets))
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
        starts = (ends - layout.lengths + 1).tolist()
        stops = (ends - self._trailing).tolist()
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
            where=self._spec,
            fix="the weights are damaged; get the checkpoint again",
        )

    def _check_lengths(self, lengths: NDArray[np.int64]) -> None:
        wrong = np.flatnonzero((lengths < 1) | (lengths > self._longest))
        if wrong.size:
            length = int(lengths[wrong[0]])
            what = f"has {length} residues" if length else "is empty"
            raise ModelError(
                f"the sequence {what}; this model reads 1 to {self._longest}",
                where=f"sequence {wrong[0] + 1}",
                fix="leave it out, or let the length policy shorten it or cut it into windows",
            )


def _short_name(path: Path) -> str:
    """Name a model after its folder, not after an iteration or a rank within it."""
    inner = ("iter_", "mp_rank_", "release", "model_optim_rng")
    named = [part for part in path.absolute().parts if not part.startswith(inner)]
    label = named[-1].lower()
    return label if label.startswith("proteinlm") else f"proteinlm-{label}"
