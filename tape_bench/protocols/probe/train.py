"""One head trained for one target: what it learns from, and what it says of the other splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import JsonValue

from tape_bench.cards import Target
from tape_bench.data.examples import Split
from tape_bench.heads.learning import learner, multiplications
from tape_bench.heads.threads import enough_threads
from tape_bench.models.embedder import Representation
from tape_bench.progress import Steps
from tape_bench.protocols.probe.plan import ProbePlan
from tape_bench.protocols.truth import beside_truth
from tape_bench.scoring.predictions import Predictions


@dataclass(frozen=True)
class Trained:
    """What a trained head says of the validation and test splits."""

    predictions: Mapping[str, Predictions]
    """By split."""
    selected: dict[str, JsonValue]
    """What was chosen on valid: the epoch or the penalty, and its validation loss; and how near
    a solved head came to the optimum."""
    history: tuple[tuple[float, float], ...]
    """Training and validation loss of every epoch; empty for a head that is solved."""


def train(
    plan: ProbePlan,
    target: Target,
    splits: Mapping[str, Split],
    representations: Mapping[str, Representation],
    seed: int,
    progress: Steps | None = None,
    device: str = "cpu",
) -> Trained:
    """Train a head for one target and predict the validation and test splits.

    Args:
        plan: what `plan` decided.
        target: what to predict; every split given must carry it.
        splits: train, valid and test splits by name.
        representations: of every sequence, pooled as the plan says.
        seed: decides the head's first weights, the order of proteins, and dropout; nothing
            where the head is solved.
        progress: called after every epoch, or every penalty.
        device: where heads compute, e.g. `cuda:0`.

    Raises:
        ModelError: training became unstable, or proteins are too long for `aligned_ridge`.
    """
    card = plan.card
    learned = learner(card.kind, plan.entry, target, representations, torch.device(device))
    train_split, valid_split = splits[card.split_of("train")], splits[card.split_of("valid")]
    steps = multiplications(card.kind, plan.entry, target, representations, train_split.sequences)
    with enough_threads(steps):
        selected, history = learned.learn(train_split, valid_split, seed, progress)
        predictions = {
            name: beside_truth(split, target, learned.predict(split))
            for name, split in splits.items()
            if split.role != "train"
        }
    return Trained(predictions, selected, tuple(history))
