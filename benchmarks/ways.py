"""Ways of embedding the same proteins: ours, and what people do instead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.plain_bert import PlainBert
from tape_bench.embedding.in_memory import represent
from tape_bench.models.packing import pack
from tape_bench.models.proteinlm import ProteinLM
from tape_bench.speed.machine import MatmulRate

BATCH = 16
"""Proteins of a padded batch, as scripts have it."""

SORTED_TOKENS = 16_384
"""Tokens, padding counted, of a padded batch of proteins of like length."""

Embed = Callable[[Sequence[str], Callable[[], None]], np.ndarray]
"""Gives `[proteins, hidden]`; what it is handed, it calls after every batch."""

Mean = Callable[[Tensor, Tensor], Tensor]
"""Token ids and mask `[batch, tokens]` to the mean over residues `[batch, hidden]`."""


@dataclass
class Way:
    """One way of embedding, and what it has taken so far."""

    name: str
    dtype: torch.dtype
    multiplies: torch.dtype
    embed: Embed
    ceiling: MatmulRate
    part: int = 1
    """It is given one of so many of the proteins: a slow way would take a lease's time."""
    seconds: float = 0.0
    residues: int = 0
    lengths: tuple[int, ...] = ()

    def take(self, proteins: Sequence[str], *, between: bool) -> None:
        """Embed a round's proteins, against the clock.

        Args:
            proteins: the round's.
            between: time products between batches too, not only after the round.
        """
        mine = proteins[:: self.part]
        started, before = time.perf_counter(), self.ceiling.seconds
        # Every way ends with its vectors on the host, so nothing is queued when the clock stops.
        self.embed(mine, self.ceiling.take if between else nothing)
        self.seconds += time.perf_counter() - started - (self.ceiling.seconds - before)
        self.lengths += tuple(map(len, mine))
        self.ceiling.measure()

    @property
    def rate(self) -> float:
        """Residues a second."""
        return sum(self.lengths) / self.seconds


def nothing() -> None:
    """Done between batches where products are timed between rounds."""


def packed(model: ProteinLM) -> Embed:
    """Embed as `tape-bench run` and `bench` do."""

    def embed(proteins: Sequence[str], between: Callable[[], None]) -> np.ndarray:
        with represent(model, proteins, "mean", progress=lambda *_: between()) as found:
            return np.stack([found[protein] for protein in proteins])

    return embed


def plain(model: ProteinLM, dtype: torch.dtype, *, written_out: bool) -> Mean:
    """Put our model's weights into a plain BERT."""
    bert = PlainBert(model.config, written_out=written_out).load(model.encoder.state_dict())
    return bert.to(model.device, dtype).eval().mean


def transformers_esm(model: ProteinLM, dtype: torch.dtype) -> Mean:
    """Build transformers' ESM of our model's shape, with torch's attention and random weights."""
    from transformers import EsmConfig, EsmModel

    config = EsmConfig(
        vocab_size=33,
        mask_token_id=32,
        pad_token_id=model.vocabulary.pad,
        hidden_size=model.config.hidden,
        num_hidden_layers=model.config.layers,
        num_attention_heads=model.config.heads,
        intermediate_size=4 * model.config.hidden,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        token_dropout=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.device(model.device):
        network = EsmModel._from_config(
            config, attn_implementation="sdpa", dtype=dtype, add_pooling_layer=False
        ).eval()

    def mean(ids: Tensor, mask: Tensor) -> Tensor:
        hidden = network(input_ids=ids, attention_mask=mask).last_hidden_state
        residues = mask.clone()
        residues[:, 0] = 0
        return (hidden.float() * residues[..., None]).sum(1) / residues.sum(1, keepdim=True)

    return mean


def padded(model: ProteinLM, mean: Mean, batches: Callable[[Sequence[int]], Batches]) -> Embed:
    """Feed padded batches to a network."""
    vocabulary = model.vocabulary

    @torch.inference_mode()
    def embed(proteins: Sequence[str], between: Callable[[], None]) -> np.ndarray:
        vectors = np.empty((len(proteins), model.config.hidden), np.float32)
        rows = [np.array([vocabulary.cls, *vocabulary.encode(one)]) for one in proteins]
        for batch in batches([len(row) for row in rows]):
            longest = max(len(rows[index]) for index in batch)
            ids = torch.full((len(batch), longest), vocabulary.pad)
            mask = torch.zeros((len(batch), longest), dtype=torch.long)
            for place, index in enumerate(batch):
                ids[place, : len(rows[index])] = torch.from_numpy(rows[index])
                mask[place, : len(rows[index])] = 1
            vectors[batch] = mean(ids.to(model.device), mask.to(model.device)).cpu().numpy()
            between()
        return vectors

    return embed


Batches = Iterator[list[int]]


def as_they_come(lengths: Sequence[int]) -> Batches:
    """Share proteins out in the order given."""
    order = list(range(len(lengths)))
    yield from (order[first : first + BATCH] for first in range(0, len(order), BATCH))


def of_like_length(lengths: Sequence[int]) -> Batches:
    """Share proteins out by length, as TAPE's bucket sampler does."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    yield from (order[first : first + BATCH] for first in range(0, len(order), BATCH))


def by_tokens(lengths: Sequence[int]) -> Batches:
    """Share proteins out by length, as many as a number of tokens allows: the best that pads."""
    yield from pack(lengths, SORTED_TOKENS, padded=True)
