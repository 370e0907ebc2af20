"""From representations to predictions: standardise, train one head, apply it to any split."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tape_bench.cards import Kind, Target
from tape_bench.data.examples import Split
from tape_bench.heads.batches import (
    Batches,
    PairBatches,
    ProteinBatches,
    Representations,
    TokenBatches,
)
from tape_bench.heads.catalogue import FitConfig, HeadEntry
from tape_bench.heads.fit import fit, seeded
from tape_bench.heads.losses import LOSSES
from tape_bench.heads.pair import PairHead
from tape_bench.heads.rows import CPU, PIECE
from tape_bench.heads.standardize import Scaling
from tape_bench.progress import Steps
from tape_bench.scoring.contacts import pair_labels


class Learner(Protocol):
    """A head on the representations of one task: taught once, then asked about any split."""

    def learn(
        self, train: Split, valid: Split, seed: int, progress: Steps | None = None
    ) -> tuple[dict[str, Any], list[tuple[float, float]]]:
        """Train; return what was selected on valid, and the losses of each epoch."""

    def predict(self, split: Split) -> NDArray[np.float32]:
        """Return the values of every item of the split, end to end."""


def multiplications(
    kind: Kind, entry: HeadEntry, target: Target, known: Representations, sequences: Sequence[str]
) -> float:
    """Estimate how many multiplications a step of learning has, of either direction."""
    hidden = float(known[sequences[0]].shape[-1])
    units = entry.units
    if entry.solver is not None:
        units = int(hidden) if kind == "sequence_value" else (target.classes or 1)
        units *= entry.solver.window
    if kind == "residue_pair":
        pairs = float(np.mean([len(sequence) ** 2 for sequence in sequences]))
        return pairs * hidden * (1 if entry.recipe is None else entry.recipe.batch)
    return hidden * units * float(PIECE if entry.recipe is None else entry.recipe.batch)


def learner(
    kind: Kind,
    entry: HeadEntry,
    target: Target,
    known: Representations,
    device: torch.device = CPU,
) -> Learner:
    """Return the learner for a head, which computes on a device where the head has much to do."""
    if entry.recipe is not None:
        return NetworkLearner(kind, entry.place, entry.recipe, target, known, device)
    solved: Learner = _found(entry.place)(entry.solver, target, known, device)
    return solved


class NetworkLearner:
    """A head that is a torch module, trained step by step."""

    def __init__(
        self,
        kind: Kind,
        place: str,
        recipe: FitConfig,
        target: Target,
        known: Representations,
        device: torch.device,
    ) -> None:
        """Prepare to train the head at `module:Class` on these representations."""
        self.kind = kind
        self.place = place
        self.recipe = recipe
        self.target = target
        self.known = known
        self.device = device

    def learn(
        self, train: Split, valid: Split, seed: int, progress: Steps | None = None
    ) -> tuple[dict[str, Any], list[tuple[float, float]]]:
        """Train on one split, stop by the other."""
        rows = (np.atleast_2d(self.known[sequence]) for sequence in train.sequences)
        self._scaling = Scaling.of(rows)
        if self.kind == "sequence_value":
            values = targets_of(train, self.target)
            self._centre, self._spread = float(np.mean(values)), float(np.std(values)) or 1.0
        most = self.recipe.max_epochs
        with seeded(seed, self.device):
            self._head = self._new_head(train).to(self.device)
            found = fit(
                self._head,
                self._batches(train),
                self._batches(valid),
                LOSSES[self.kind],
                self.recipe,
                seed,
                progress and (lambda epoch, _, loss: progress(epoch, most, loss)),
            )
        selected = {"epoch": found.epoch, "valid_loss": found.valid_loss}
        return selected, list(found.history)

    @torch.no_grad()
    def predict(self, split: Split) -> NDArray[np.float32]:
        """Return the values of every item of the split, end to end."""
        self._head.eval()
        batches = self._batches(split)
        scores: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(split)
        for batch in batches.in_order():
            scored = self._head(*batch.to(self.device).inputs).cpu()
            parts = batches.take_apart(batch, scored)
            for row, part in zip(batch.rows, parts, strict=True):
                scores[row] = part.numpy()
        values = np.concatenate(scores)
        if self.kind == "sequence_value":
            return values[:, 0] * np.float32(self._spread) + np.float32(self._centre)
        return values

    def _new_head(self, train: Split) -> nn.Module:
        make = _found(self.place)
        hidden = len(self._scaling.mean)
        if self.kind != "residue_pair":
            head: nn.Module = make(hidden, self.target.classes or 1)
            return head
        pair_head: PairHead = make(hidden)
        labels = np.concatenate([pair_labels(c) for c in targets_of(train, self.target)])
        pair_head.start_at(float((labels == 1).sum() / max((labels >= 0).sum(), 1)))
        return pair_head

    def _batches(self, split: Split) -> Batches:
        targets = targets_of(split, self.target)
        if self.kind == "token_class":
            return TokenBatches(
                split.sequences, targets, self.known, self._scaling, self.recipe.batch
            )
        if self.kind == "residue_pair":
            return PairBatches(
                split.sequences, targets, self.known, self._scaling, self.recipe.batch
            )
        features = self._scaling(np.stack([self.known[sequence] for sequence in split.sequences]))
        if self.kind == "sequence_class":
            return ProteinBatches(features, np.array(targets, np.int64), self.recipe.batch)
        scaled = ((np.array(targets) - self._centre) / self._spread).astype(np.float32)
        return ProteinBatches(features, scaled, self.recipe.batch)


def _found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def targets_of(split: Split, target: Target) -> list[Any]:
    """Return what is known of each example."""
    return [example.targets[target.name] for example in split]
