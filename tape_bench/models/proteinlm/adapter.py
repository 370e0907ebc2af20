"""ProteinLM as a model adapter: sequences in, representations and token scores out."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from tape_bench.data.tokens import MEGATRON_IUPAC, Vocabulary
from tape_bench.errors import DataError, ModelError
from tape_bench.models.embedder import Identity, Pool, Representation
from tape_bench.models.placement import choose_device, choose_dtype
from tape_bench.models.proteinlm.checkpoint import digest, load_encoder, open_checkpoint
from tape_bench.models.proteinlm.config import Gelu, Given, QkvOrder
from tape_bench.models.proteinlm.reading import Reading, SpecialTokens
from tape_bench.models.proteinlm.source import WeightSource

What = Literal["vectors", "logits"]

_TOKENS_A_BATCH = {"cpu": 2_048, "cuda": 16_384}
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
) -> ProteinLM:
    """Load ProteinLM from a checkpoint.

    Args:
        argument: path of a Megatron checkpoint root, `iter_*` or `release` folder,
            `model_optim_rng.pt`, or converted folder.
        dtype: precision to compute in; None for float32 on a CPU, and on a GPU what the
            checkpoint has. Residual stream, layer norms and softmax are float32 in any case.
        device: `cpu`, `cuda` or `cuda:N`; None for a GPU where there is one.
        reading: `megatron` or `fork`; see `Reading`.
        special_tokens: `cls` or `cls_sep`; None for what goes with the reading.
        layer: number of layers to go through; None for all.
        qkv_order: how query, key and value rows lie, against what the checkpoint says.
        heads: number of attention heads, where the checkpoint does not say.
        gelu: `tanh` or `erf`, where the checkpoint does not say.
        layernorm_eps: where the checkpoint does not say.

    Raises:
        CheckpointError: the checkpoint is missing, broken, foreign, unsafe or incomplete.
        ModelError: the options ask for what the model or the machine does not have.
    """
    if not argument:
        raise ModelError("proteinlm needs a checkpoint", fix="write proteinlm:PATH")
    path = Path(argument).expanduser()
    given = Given(heads, gelu, layernorm_eps, qkv_order)
    return ProteinLM(
        lambda: open_checkpoint(path, given),
        Reading(reading, special_tokens, layer),
        spec=f"proteinlm:{argument}",
        name=_short_name(path),
        pretraining=("Pfam",),
        dtype=dtype,
        device=device,
    )


class ProteinLM:
    """ProteinLM, trained or untrained: an `Embedder` and a `MaskedLanguageModel`."""

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
    ) -> None:
        source = open_source()
        self.reading = reading
        self.device = choose_device(device)
        self.dtype = choose_dtype(dtype, self.device, source.stored_dtype)
        self.notes = source.notes
        self.recomputed_in_float32 = 0
        """Sequences whose values overflowed in half precision and were computed again."""
        self._open_source = open_source
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
        self.encoder = load_encoder(
            source,
            config,
            dtype=self.dtype,
            device=self.device,
            normalise_output=reading.name == "megatron",
        )

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
            weights_digest=digest(self._open_source()),
            parameters=sum(parameter.numel() for parameter in self.encoder.parameters()),
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
            },
            control=self._control,
        )

    @property
    def vocabulary(self) -> Vocabulary:
        """ProteinLM's 31 tokens."""
        return MEGATRON_IUPAC

    @torch.no_grad()
    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences; see `Embedder.embed`. `first` is the vector of `[CLS]`."""
        try:
            ids, offsets = self.vocabulary.encode_many(sequences)
        except DataError as error:
            raise ModelError(error.what, where=error.where, fix=error.fix) from error
        residues = [ids[start:stop] for start, stop in itertools.pairwise(offsets)]
        found: dict[int, Representation] = {}
        for index, vectors in self._run(residues, "vectors"):
            body = vectors[1 : 1 + len(residues[index])]
            pooled = {"residues": body, "first": vectors[0]}.get(pool)
            found[index] = _to_numpy(body.mean(0) if pooled is None else pooled)
        return [found[index] for index in range(len(sequences))]

    @torch.no_grad()
    def token_logits(self, token_ids: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Score every vocabulary entry at every residue; see `MaskedLanguageModel`."""
        if self.encoder.mlm_head is None:
            raise ModelError(
                "this checkpoint is fine-tuned and has no masked-language-model head",
                where=self._spec,
                fix="use the pre-trained checkpoint",
            )
        found = {
            index: _to_numpy(logits[1 : 1 + len(token_ids[index])])
            for index, logits in self._run(token_ids, "logits")
        }
        return [found[index] for index in range(len(token_ids))]

    @property
    def _longest(self) -> int:
        return self.config.positions - (1 if self.reading.tokens == "cls" else 2)

    def _run(
        self, residues: Sequence[NDArray[np.int64]], what: What
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield each sequence's index and its rows, special tokens included, longest first."""
        tokens = [self._with_special_tokens(index, ids) for index, ids in enumerate(residues)]
        for batch in self._batches([len(ids) for ids in tokens]):
            rows = self._finite_rows([tokens[index] for index in batch], what)
            yield from zip(batch, rows, strict=True)

    def _with_special_tokens(self, index: int, ids: NDArray[np.int64]) -> Tensor:
        if not 0 < len(ids) <= self._longest:
            what = "is empty" if not len(ids) else f"has {len(ids)} residues"
            raise ModelError(
                f"the sequence {what}; this model reads 1 to {self._longest}",
                where=f"sequence {index + 1}",
                fix="leave it out, or let the length policy shorten it or cut it into windows",
            )
        after = [self.vocabulary.sep] if self.reading.tokens == "cls_sep" else []
        return torch.from_numpy(np.concatenate([[self.vocabulary.cls], ids, after]).astype(int))

    def _batches(self, lengths: Sequence[int]) -> Iterator[list[int]]:
        """Group sequences of similar length; values do not depend on who shares a batch."""
        budget = _TOKENS_A_BATCH[self.device.type]
        batch: list[int] = []
        for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
            if batch and lengths[batch[0]] * (len(batch) + 1) > budget:
                yield batch
                batch = []
            batch.append(index)
        if batch:
            yield batch

    def _finite_rows(self, batch: list[Tensor], what: What) -> list[Tensor]:
        rows = self._rows(batch, what)
        if not _finite(rows) and self.dtype in (torch.float16, torch.bfloat16):
            # Half-precision weights survive the journey to float32 and back unchanged.
            self.encoder.float()
            try:
                rows = self._rows(batch, what)
            finally:
                self.encoder.to(self.dtype)
            self.recomputed_in_float32 += len(batch)
        if not _finite(rows):
            raise ModelError(
                f"the {what} are not finite even in float32",
                where=self._spec,
                fix="the weights are damaged; get the checkpoint again",
            )
        return rows

    def _rows(self, batch: list[Tensor], what: What) -> list[Tensor]:
        """Run the network; on a CPU padding is pure loss, on a GPU it saves launches."""
        if self.device.type == "cpu":
            return self._packed_rows(batch, what)
        return self._padded_rows(batch, what)

    def _packed_rows(self, batch: list[Tensor], what: What) -> list[Tensor]:
        lengths = [len(ids) for ids in batch]
        ids = torch.cat(batch).to(self.device)
        if what == "logits":
            rows = self.encoder.token_logits_packed(ids, lengths)
        else:
            rows = self.encoder.forward_packed(ids, lengths, self.reading.layer)
        return list(torch.split(rows, lengths))

    def _padded_rows(self, batch: list[Tensor], what: What) -> list[Tensor]:
        lengths = [len(ids) for ids in batch]
        ids = pad_sequence(batch, batch_first=True, padding_value=self.vocabulary.pad)
        mask = torch.arange(ids.shape[1]) < torch.tensor(lengths)[:, None]
        ids, mask = ids.to(self.device), mask.to(self.device)
        if what == "logits":
            rows = self.encoder.token_logits(ids, mask)
        else:
            rows = self.encoder(ids, mask, self.reading.layer)
        return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def _finite(rows: list[Tensor]) -> bool:
    return all(bool(torch.isfinite(row).all()) for row in rows)


def _to_numpy(rows: Tensor) -> NDArray[np.float32]:
    # A copy: a view would keep the whole batch in memory.
    return rows.to("cpu", torch.float32, copy=True).numpy()


def _short_name(path: Path) -> str:
    """Name a model after its folder, not after an iteration or a rank within it."""
    inner = ("iter_", "mp_rank_", "release", "model_optim_rng")
    named = [part for part in path.absolute().parts if not part.startswith(inner)]
    label = named[-1].lower()
    return label if label.startswith("proteinlm") else f"proteinlm-{label}"
