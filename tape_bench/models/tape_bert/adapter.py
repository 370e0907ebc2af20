"""TAPE's own transformer, from the folder its code saves: `config.json`, `pytorch_model.bin`."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tape_bench.data.vocabulary import TAPE_IUPAC, Vocabulary
from tape_bench.errors import DataError, ModelError, UsageError
from tape_bench.models.as_loaded import State, state_of
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
from tape_bench.models.tape_bert.checkpoint import Weights, read_config, read_weights
from tape_bench.models.tape_bert.network import Block, TapeBert
from tape_bench.models.tape_bert.training import TapeBertNetwork
from tape_bench.models.trainable import replace_weights

TOKENS_PER_LAUNCH = {"cpu": 2_048, "cuda": 16_384}
"""Tokens computed together, by kind of device; a single longer sequence goes alone."""

SPECIALS = 2
"""Tokens added to each sequence."""

First = Literal["token", "tanh"]


@dataclass(frozen=True)
class TapeBertEmbedder:
    """Represents residues by TAPE's transformer, and names the likeliest residue at a place."""

    identity: Identity
    network: TapeBert
    first: First
    vocabulary: Vocabulary = TAPE_IUPAC

    def __post_init__(self) -> None:
        object.__setattr__(self, "_as_loaded", state_of(self.network))

    @property
    def changed(self) -> bool:
        """Whether the network in memory is no longer what the checkpoint holds."""
        as_loaded: State = vars(self)["_as_loaded"]
        return state_of(self.network) != as_loaded

    @property
    def special_tokens(self) -> int:
        """[CLS] before and [SEP] after the residues, as TAPE feeds them."""
        return SPECIALS

    def describe(self) -> Network:
        """Return the shape of the blocks gone through; see `Described`."""
        blocks = cast(list[Block], list(self.network.blocks))
        inner, hidden = blocks[0].widen.weight.shape
        words = self.network.words.weight
        depth = len(blocks) if self.identity.layer is None else self.identity.layer
        # It never widens its weights, whatever the processor.
        precision = str(words.dtype).removeprefix("torch.")
        return Network(depth, hidden, inner, precision, str(words.device))

    def tokens_per_launch(self) -> int:
        """Return the tokens worth computing at once, fewer where the memory is small."""
        words = self.network.words.weight
        # In a layer, float32 norms and activations of which the widened ones are most.
        per_token = self.identity.hidden_size * (2 * 4 + 12 * words.element_size())
        return tokens_that_fit(words.device, TOKENS_PER_LAUNCH[words.device.type], per_token)

    def embed(self, sequences: Sequence[str], pool: Pool = "residues") -> list[Representation]:
        """Represent sequences: `[residues, hidden]` each, or `[hidden]` for the others.

        Raises:
            ModelError: an empty or too long sequence, or a letter outside the vocabulary.
        """
        check_request(sequences, pool)
        lengths = [len(sequence) + SPECIALS for sequence in sequences]
        found: dict[int, Representation] = {}
        for batch in pack(lengths, self.tokens_per_launch()):
            launched = self.embed_packed([sequences[index] for index in batch], [pool])
            found.update(zip(batch, launched.representations[pool], strict=True))
        return [found[index] for index in range(len(sequences))]

    @torch.inference_mode()
    def embed_packed(self, sequences: Sequence[str], pools: Sequence[Pool]) -> Packed:
        """Represent sequences in one launch; see `PackedEmbedder`."""
        readers = {"residues": _residues, "mean": _mean, "first": self._first_token}
        hidden = self._hidden([self._encode(s) for s in sequences], self.identity.layer)
        if not all(one.isfinite().all() for one in hidden):
            raise ModelError(
                "the vectors are not finite",
                where=f"{self.identity.spec}, {self.identity.dtype}",
                fix="in half precision, try float32; else the weights are damaged",
            )
        return Packed(
            {pool: [_to_numpy(readers[pool](one)) for one in hidden] for pool in pools},
            tokens=sum(map(len, hidden)),
        )

    @torch.inference_mode()
    def token_logits(self, token_ids: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Score TAPE's 30 tokens at every residue, `[residues, 30]` each.

        Raises:
            ModelError: the checkpoint has no masked-language-model head, or a sequence is empty
                or too long.
        """
        if self.network.masked_head is None:
            raise ModelError(
                f"the checkpoint of {self.identity.name} has no masked-language-model head",
                where=self.identity.spec,
                fix="use the checkpoint of TAPE's ProteinBertForMaskedLM, which has mlm.* weights",
            )
        for ids in token_ids:
            self._check_length(len(ids))
        found: dict[int, NDArray[np.float32]] = {}
        for batch in pack([len(ids) + SPECIALS for ids in token_ids], self.tokens_per_launch()):
            hidden = self._hidden([token_ids[index] for index in batch])
            logits = (_to_numpy(self.network.logits(_residues(one))) for one in hidden)
            found.update(zip(batch, logits, strict=True))
        return [found[index] for index in range(len(token_ids))]

    def to_train(self) -> TapeBertNetwork:
        """Return a copy of the network that may be changed; see `Trainable`."""

        def encode(sequence: str) -> list[int]:
            ids: list[int] = self._encode(sequence).tolist()
            return [self.vocabulary.cls, *ids, self.vocabulary.sep]

        def first(network: TapeBert, states: Tensor) -> Tensor:
            return states if self.first == "token" else network.pool(states)

        own = copy.deepcopy(self.network).float()
        return TapeBertNetwork(own, encode, first, self.identity.layer)

    def retrained(self, weights: Mapping[str, Tensor], identity: Identity) -> TapeBertEmbedder:
        """Return the model with some of its weights replaced; see `Trainable`."""
        own = copy.deepcopy(self.network)
        replace_weights(own, weights, identity.spec)
        return dataclasses.replace(self, identity=identity, network=own)

    def _encode(self, sequence: str) -> NDArray[np.int64]:
        self._check_length(len(sequence))
        try:
            return self.vocabulary.encode(sequence)
        except DataError as error:
            raise ModelError(error.what, where=error.where, fix=error.fix) from None

    def _check_length(self, residues: int) -> None:
        longest = self.identity.longest_input
        if residues == 0:
            raise ModelError("an empty sequence has no representation", fix="remove the record")
        if longest is not None and residues > longest:
            raise ModelError(
                f"a sequence of {residues} residues is longer than the {longest} that "
                f"{self.identity.name} has positions for",
                fix="leave it out, cut it, or choose the length policy skip, truncate or window",
            )

    def _hidden(
        self, token_ids: Sequence[NDArray[np.int64]], layer: int | None = None
    ) -> Sequence[Tensor]:
        """Return the hidden states of sequences, `[tokens, hidden]` each, special tokens too."""
        before, after = [self.vocabulary.cls], [self.vocabulary.sep]
        rows = [np.concatenate([before, ids, after]) for ids in token_ids]
        tokens = [len(row) for row in rows]
        ids = torch.from_numpy(np.concatenate(rows)).to(self.network.words.weight.device)
        return self.network(ids, tokens, layer).split(tokens)  # type: ignore[no-any-return]

    def _first_token(self, hidden: Tensor) -> Tensor:
        return hidden[0] if self.first == "token" else self.network.pool(hidden[0])


def load(
    argument: str | None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    layer: int | None = None,
    first: First | None = None,
) -> TapeBertEmbedder:
    """Load TAPE's transformer, with or without its masked-language-model head.

    Args:
        argument: the folder.
        dtype: precision; if not given, float32 on a CPU, and on a GPU what the file has.
        device: `cpu`, `cuda` or `cuda:N`; a GPU if there is one.
        layer: take the representation after this block, 0 for the embeddings; the last if not
            given.
        first: what pool `first` is. `token`, the default, is the last hidden state of [CLS];
            `tanh` is TAPE's pooled vector, tanh of a dense layer of it. TAPE's heads read the
            latter, trained together with them; pre-training leaves that layer as it was drawn
            at random, which is why it is not the default.

    Raises:
        UsageError, ModelError: no folder given, or an option out of range.
        CheckpointError: the folder is no checkpoint of TAPE's transformer.
    """
    if argument is None:
        raise UsageError("tape_bert needs a folder", fix="write tape_bert:FOLDER")
    folder = Path(argument)
    place = choose_device(device)
    if first not in (None, "token", "tanh"):
        raise UsageError(f"pool first cannot be read as {first!r}", fix="use token or tanh")
    config = read_config(folder)
    if layer is not None and not 0 <= layer <= config.num_hidden_layers:
        raise UsageError(
            f"there is no layer {layer}", fix=f"choose 0 to {config.num_hidden_layers}"
        )
    weights = read_weights(folder, config)
    precision = choose_dtype(dtype, place, weights.tensors["words.weight"].dtype)
    if precision == torch.float16 and place.type == "cpu":
        raise ModelError(
            "float16 is four times slower than float32 on a CPU",
            fix="choose float32, or bfloat16 for half the memory",
        )
    with torch.device("meta"):
        network = TapeBert(config, masked_head=weights.masked_head)
    digest = _digest(weights)
    network.load_state_dict(
        {name: tensor.to(place, precision) for name, tensor in weights.tensors.items()},
        assign=True,
    )
    identity = Identity(
        spec=f"tape_bert:{argument}",
        name="tape_bert-" + re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name),
        revision=digest[:12],
        weights_digest=digest,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        hidden_size=config.hidden_size,
        longest_input=config.max_position_embeddings - SPECIALS,
        pretraining=None,
        dtype=str(precision).removeprefix("torch."),
        layer=layer,
        reading={"special_tokens": "cls_sep", "first": first or "token"},
    )
    return TapeBertEmbedder(identity, network.eval().requires_grad_(False), first or "token")


def _residues(hidden: Tensor) -> Tensor:
    return hidden[1:-1]


def _mean(hidden: Tensor) -> Tensor:
    return hidden[1:-1].float().mean(dim=0)


def _to_numpy(rows: Tensor) -> NDArray[np.float32]:
    # A copy: a view would keep the whole launch in memory.
    return rows.to("cpu", torch.float32, copy=True).numpy()


def _digest(weights: Weights) -> str:
    """Hash names, types, shapes and values, whatever file they came in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
