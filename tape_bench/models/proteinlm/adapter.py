"""ProteinLM as a model adapter: sequences in, representations and token scores out."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench import kernels, paths
from tape_bench.data.vocabulary import MEGATRON_IUPAC, Vocabulary
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
from tape_bench.models.packing import pack
from tape_bench.models.placement import choose_device, choose_dtype, tokens_that_fit
from tape_bench.models.proteinlm.attend import offsets_of
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

What = Literal["vectors", "logits"]

_TOKENS_PER_LAUNCH = {"cpu": 2_000, "cuda": 16_384}
"""More tokens in one go make nothing faster, and cost memory."""


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


class _Rows(NamedTuple):
    """What one launch came to, sequences end to end."""

    values: Tensor
    """`[tokens, width]`, special tokens too."""
    lengths: list[int]
    """Tokens of each sequence."""
    recomputed: int
    """Sequences computed again in float32."""


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
        # The probe asks what is free beside the weights.
        width = kernels.arithmetic(self.dtype, self.device).itemsize
        # In a layer, float32 stream and norms, and activations of which the widened ones are most.
        per_token = self.config.hidden * (3 * 4 + 12 * width)
        fit = tokens_that_fit(self.device, _TOKENS_PER_LAUNCH[self.device.type], per_token)
        # Processes that compute one network must form the same batches.
        return self._tensor_parallel.least(fit)

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences; see `Embedder.embed`. `first` is the vector of `[CLS]`."""
        check_request(sequences, pool)
        self._check_lengths([len(sequence) for sequence in sequences])
        lengths = [len(sequence) + self.special_tokens for sequence in sequences]
        found: dict[int, Representation] = {}
        for batch in pack(lengths, self.tokens_per_launch()):
            launched = self.embed_packed([sequences[index] for index in batch], [pool])
            found.update(zip(batch, launched.representations[pool], strict=True))
        return [found[index] for index in range(len(sequences))]

    @torch.no_grad()
    def embed_packed(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Packed:
        """Represent sequences in one launch; see `PackedEmbedder`."""
        try:
            ids, offsets = self.vocabulary.encode_many(sequences)
        except DataError as error:
            raise ModelError(error.what, where=error.where, fix=error.fix) from error
        tokens = self._with_special_tokens(
            [ids[start:stop] for start, stop in itertools.pairwise(offsets)]
        )
        rows = self._launch(tokens, "vectors")
        return Packed(
            {pool: self._pooled(rows.values, rows.lengths, pool) for pool in pools},
            tokens=sum(rows.lengths),
            recomputed=rows.recomputed,
        )

    @torch.no_grad()
    def token_logits(self, token_ids: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Score every vocabulary entry at every residue; see `MaskedLanguageModel`."""
        if self.encoder.mlm_head is None:
            raise ModelError(
                "this checkpoint is fine-tuned and has no masked-language-model head",
                where=self._spec,
                fix="use the pre-trained checkpoint",
            )
        tokens = self._with_special_tokens(token_ids)
        found: dict[int, NDArray[np.float32]] = {}
        for batch in pack([len(ids) for ids in tokens], self.tokens_per_launch()):
            rows = self._launch([tokens[index] for index in batch], "logits")
            found.update(zip(batch, self._at_residues(rows.values, rows.lengths), strict=True))
        return [found[index] for index in range(len(token_ids))]

    @property
    def _longest(self) -> int:
        return self.config.positions - 1 - self._trailing

    @property
    def _trailing(self) -> int:
        """Special tokens after the residues; before them stands `[CLS]` alone."""
        return 1 if self.reading.tokens == "cls_sep" else 0

    def _pooled(self, vectors: Tensor, lengths: list[int], pool: Pool) -> list[Representation]:
        if pool == "residues":
            return self._at_residues(vectors, lengths)
        offsets = offsets_of(lengths, vectors.device)
        if pool == "first":
            return list(_to_numpy(vectors[offsets[:-1]]))
        return list(_to_numpy(kernels.segment_mean(vectors, offsets, 1, self._trailing)))

    def _at_residues(self, rows: Tensor, lengths: list[int]) -> list[NDArray[np.float32]]:
        bounds = list(itertools.accumulate(lengths))[:-1]
        parts = np.split(_to_numpy(rows), bounds)
        # Copies: a view would keep the whole batch in memory.
        return [part[1 : len(part) - self._trailing].copy() for part in parts]

    def _launch(self, tokens: Sequence[Tensor], what: What) -> _Rows:
        """Return the rows of sequences end to end, special tokens too."""
        lengths = [len(ids) for ids in tokens]
        return self._finite_rows(torch.cat(list(tokens)).to(self.device), lengths, what)

    def _with_special_tokens(self, residues: Sequence[NDArray[np.int64]]) -> list[Tensor]:
        self._check_lengths([len(ids) for ids in residues])
        before, after = [self.vocabulary.cls], [self.vocabulary.sep] * self._trailing
        return [
            torch.from_numpy(np.concatenate([before, ids, after]).astype(int)) for ids in residues
        ]

    def _check_lengths(self, lengths: Sequence[int]) -> None:
        for index, length in enumerate(lengths):
            if not 0 < length <= self._longest:
                what = f"has {length} residues" if length else "is empty"
                raise ModelError(
                    f"the sequence {what}; this model reads 1 to {self._longest}",
                    where=f"sequence {index + 1}",
                    fix="leave it out, or let the length policy shorten it or cut it into windows",
                )

    def _finite_rows(self, ids: Tensor, lengths: list[int], what: What) -> _Rows:
        again = 0
        try:
            rows = self._rows(ids, lengths, what)
        except torch.OutOfMemoryError:
            if self._tensor_parallel.size == 1:
                raise
            # Nobody can try again with less: the partners are in the middle of this batch.
            raise ModelError(
                f"the memory of tensor-parallel processes does not hold {len(ids)} tokens",
                where=str(self.device),
                fix=f"use more of them, or --tokens-per-batch {max(len(ids) // 2, 1)}",
            ) from None
        if not _finite(rows) and self.dtype in (torch.float16, torch.bfloat16):
            # Half-precision weights survive the journey to float32 and back unchanged.
            self.encoder.float()
            try:
                rows = self._rows(ids, lengths, what)
            finally:
                self.encoder.to(self.dtype)
            again = len(lengths)
        if not _finite(rows):
            raise ModelError(
                f"the {what} are not finite even in float32",
                where=self._spec,
                fix="the weights are damaged; get the checkpoint again",
            )
        return _Rows(rows, lengths, again)

    def _rows(self, ids: Tensor, lengths: list[int], what: What) -> Tensor:
        if what == "logits":
            return self.encoder.token_logits_packed(ids, lengths)
        return self.encoder.forward_packed(ids, lengths, self.reading.layer)


def _finite(rows: Tensor) -> bool:
    # One pass where looking at each number takes four: what is not finite makes the sum so, too.
    return bool(torch.isfinite(rows.sum()))


def _to_numpy(rows: Tensor) -> NDArray[np.float32]:
    return rows.to("cpu", torch.float32).numpy()


def _short_name(path: Path) -> str:
    """Name a model after its folder, not after an iteration or a rank within it."""
    inner = ("iter_", "mp_rank_", "release", "model_optim_rng")
    named = [part for part in path.absolute().parts if not part.startswith(inner)]
    label = named[-1].lower()
    return label if label.startswith("proteinlm") else f"proteinlm-{label}"
