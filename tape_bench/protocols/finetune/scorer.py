"""An encoder with a head on it: sequences in, scores out, and the loss against the truth."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from tape_bench.cards import Kind
from tape_bench.data.scorable import SMALLEST_SEPARATION
from tape_bench.embedding.windows import windows
from tape_bench.errors import ModelError
from tape_bench.heads.catalogue import beside_encoder
from tape_bench.heads.losses import LOSSES
from tape_bench.heads.pair import PairHead
from tape_bench.models.embedder import Pool
from tape_bench.models.trainable import States, TrainableNetwork
from tape_bench.scoring.contacts import contact_labels


class Scorer(nn.Module):
    """An encoder with a head on it."""

    def __init__(
        self,
        network: TrainableNetwork,
        kind: Kind,
        head: str,
        pool: Pool,
        outputs: int,
        *,
        dropout: float = 0.0,
        window: int | None = None,
    ) -> None:
        """Draw a head, from torch's random numbers, for an encoder.

        Args:
            network: the encoder.
            kind: of task.
            head: one of `heads.catalogue.beside_encoder`.
            pool: how a protein's states become one vector, where the head reads one.
            outputs: classes, or 1 for a value.
            dropout: share of channels that the head does not see in training.
            window: residues read at once of a longer protein; None to read all whole.
        """
        super().__init__()
        module, _, name = beside_encoder(kind)[head].partition(":")
        make = getattr(importlib.import_module(module), name)
        device = next(network.parameters()).device
        self.network, self.kind, self.pool = network, kind, pool
        self.dropout, self.window = dropout, window
        made: nn.Module = (
            make(network.hidden) if kind == "residue_pair" else make(network.hidden, outputs)
        )
        self.head = made.to(device)

    def forward(self, sequences: Sequence[str]) -> list[Tensor]:
        """Return the scores of each protein.

        Returns:
            `[residues, classes]` each, `[classes]`, `[1]`, or logits `[residues, residues]`.
        """
        states = self._states(sequences)
        lengths = [len(sequence) for sequence in sequences]
        if self.kind in ("sequence_class", "sequence_value"):
            return list(self.head(self._dropped(self._pooled(states, lengths))))
        apart = self._dropped(states.residues).split(lengths)
        if self.kind == "residue_pair":
            return [self.head(one.unsqueeze(0)).squeeze(0) for one in apart]
        padded = pad_sequence(list(apart), batch_first=True)
        there = torch.arange(padded.shape[1], device=padded.device)
        mask = there < torch.tensor(lengths, device=padded.device)[:, None]
        scores = self.head(padded, mask)
        return [one[:length] for one, length in zip(scores, lengths, strict=True)]

    def loss(self, sequences: Sequence[str], truth: Sequence[Any]) -> tuple[Tensor, list[Tensor]]:
        """Return the loss summed over items, and the scores of each protein.

        Args:
            sequences: proteins.
            truth: of each, as a tensor on the device; see `truth_of`.
        """
        scores = self(sequences)
        return self.loss_of(scores, truth), scores

    def loss_of(self, scores: Sequence[Tensor], truth: Sequence[Tensor]) -> Tensor:
        """Return the loss of scores, summed over items, in float32."""
        loss = LOSSES[self.kind]
        if self.kind == "residue_pair":
            parts = [loss(s.float(), t)[0] for s, t in zip(scores, truth, strict=True)]
            return torch.stack(parts).sum()
        if self.kind == "token_class":
            return loss(torch.cat(list(scores)).float(), torch.cat(list(truth)))[0]
        return loss(torch.stack(list(scores)).float(), torch.stack(list(truth)))[0]

    def start_at(self, rate: float) -> None:
        """Begin at the share of pairs that are in contact, where the head scores pairs."""
        if isinstance(self.head, PairHead):
            self.head.start_at(rate)

    def _states(self, sequences: Sequence[str]) -> States:
        """Represent sequences, those that are too long in windows as for any other protocol."""
        width = self.window
        if width is None or all(len(sequence) <= width for sequence in sequences):
            found: States = self.network(sequences)
            return found
        cuts = [windows(len(sequence), width) for sequence in sequences]
        pieces = [
            sequence[cut.start : cut.stop]
            for sequence, cut_up in zip(sequences, cuts, strict=True)
            for cut in cut_up
        ]
        states = self.network(pieces)
        apart = iter(states.residues.split([len(piece) for piece in pieces]))
        kept = [
            next(apart)[cut.keep_from - cut.start : cut.keep_to - cut.start]
            for cut_up in cuts
            for cut in cut_up
        ]
        begins = np.cumsum([0, *map(len, cuts)])[:-1]
        first = None if states.first is None else states.first[torch.from_numpy(begins)]
        return States(torch.cat(kept), first)

    def _pooled(self, states: States, lengths: Sequence[int]) -> Tensor:
        if self.pool == "first":
            if states.first is None:
                raise ModelError(
                    "this model has no first token to pool by", fix="choose the pool 'mean'"
                )
            return states.first
        return torch.stack([one.mean(dim=0) for one in states.residues.split(list(lengths))])

    def _dropped(self, states: Tensor) -> Tensor:
        return functional.dropout(states, self.dropout, self.training)


def truth_of(kind: Kind, known: Any) -> Tensor:
    """Return what is known of a protein as a tensor to compute a loss with."""
    if kind == "residue_pair":
        return torch.from_numpy(contact_labels(known))
    if kind == "sequence_value":
        return torch.tensor(float(known))
    return torch.as_tensor(np.asarray(known, np.int64))


def items_of(kind: Kind, truth: Tensor) -> int:
    """Return how many items of a protein count in the loss."""
    return int((truth >= 0).sum()) if kind in ("residue_pair", "token_class") else 1


def values_of(kind: Kind, scores: Sequence[Tensor]) -> Iterator[NDArray[np.float32]]:
    """Yield what `Predictions` holds of each protein."""
    for one in scores:
        wide = one.detach().float()
        if kind == "residue_pair":
            scored = torch.ones_like(wide, dtype=torch.bool).triu(SMALLEST_SEPARATION)
            yield torch.sigmoid(wide[scored]).cpu().numpy()
        elif kind == "sequence_class":
            yield wide.unsqueeze(0).cpu().numpy()
        else:
            yield wide.cpu().numpy()
