"""The protocol `probe`: what can be read off frozen representations.

The encoder is never changed. Each channel is standardised by the training split. The default
heads are convex problems solved on train, once a target; others are trained for each seed. The
penalty (or epoch) with the lowest loss on valid is kept; the test splits are only ever predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tape_bench.cards import Target, TaskCard
from tape_bench.data.examples import Split
from tape_bench.errors import UsageError, unknown_name
from tape_bench.heads.catalogue import HEADS, HeadEntry
from tape_bench.models.embedder import Identity, Pool, Representation
from tape_bench.scoring.contacts import pair_labels
from tape_bench.scoring.predictions import Predictions

VERSION = "2"
"""Changes when the protocol changes in a way that can change a figure."""

Progress = Callable[[int, int, float], None]
"""Called with epochs (or penalties) done and at most, and the validation loss of the last one."""


@dataclass(frozen=True)
class ProbePlan:
    """A probe decided: which head, on which pooling, trained how."""

    card: TaskCard
    head: str
    entry: HeadEntry
    pool: Pool
    version: str = VERSION

    @property
    def seed_matters(self) -> bool:
        """Whether the figures depend on the seed: not where the head is solved."""
        return self.entry.recipe is not None

    @property
    def resolved(self) -> dict[str, Any]:
        """Every choice that can change a figure, for the record."""
        choices: dict[str, Any] = {"head": self.head, "pool": self.pool}
        if not self.entry.aligned:
            choices["features"] = "standardised by train, cut at 10 standard deviations"
        if (solver := self.entry.solver) is not None:
            choices |= {
                "method": solver.method,
                "penalties": list(solver.penalties),
                "selection": "lowest validation loss",
            }
            if solver.tolerance is not None:
                choices["tolerance"] = solver.tolerance
            if solver.window > 1:
                choices["window"] = solver.window
        if self.entry.recipe is not None:
            choices |= {
                "optimiser": "AdamW",
                "selection": "lowest validation loss",
                **asdict(self.entry.recipe),
            }
            if self.card.kind == "sequence_value":
                choices["targets"] = "standardised by train, predictions mapped back"
        if self.entry.note:
            choices["note"] = self.entry.note
        return choices


@dataclass(frozen=True)
class Trained:
    """What a trained head says of the validation and test splits."""

    predictions: Mapping[str, Predictions]
    """By split."""
    selected: Mapping[str, Any]
    """What was chosen on valid: the epoch or the penalty, and its validation loss; and how near
    a solved head came to the optimum."""
    history: tuple[tuple[float, float], ...]
    """Training and validation loss of every epoch; empty for a head that is solved."""


def plan(card: TaskCard, head: str | None, identity: Identity) -> ProbePlan:
    """Decide the head and the pooling of a task for a model.

    Args:
        card: the task.
        head: name of a head; the model's only head or the card's default if None.
        identity: the model.

    Raises:
        UsageError: no such head for this kind of task, or not one this model makes sense with.
    """
    known = HEADS[card.kind]
    chosen = head or identity.only_head or card.head
    if chosen not in known:
        raise unknown_name("head", chosen, known)
    if identity.only_head not in (None, chosen):
        raise UsageError(
            f"the model {identity.name} makes sense with the head {identity.only_head} only",
            fix=f"leave out the head, or choose a model other than {identity.name}",
        )
    entry = known[chosen]
    return ProbePlan(card, chosen, entry, "residues" if entry.aligned else card.pool)


def train(
    plan: ProbePlan,
    target: Target,
    splits: Mapping[str, Split],
    representations: Mapping[str, Representation],
    seed: int,
    progress: Progress | None = None,
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

    Raises:
        ModelError: training became unstable, or proteins are too long for `aligned_ridge`.
    """
    # Brings torch, which planning a run or finding it done must not wait for.
    from tape_bench.heads.learning import learner, multiplications
    from tape_bench.heads.threads import enough_threads

    card = plan.card
    learned = learner(card.kind, plan.entry, target, representations)
    train_split, valid_split = splits[card.split_of("train")], splits[card.split_of("valid")]
    steps = multiplications(card.kind, plan.entry, target, representations, train_split.sequences)
    with enough_threads(steps):
        selected, history = learned.learn(train_split, valid_split, seed, progress)
        predictions = {
            name: _predictions(plan, target, split, learned.predict(split))
            for name, split in splits.items()
            if split.role != "train"
        }
    return Trained(predictions, selected, tuple(history))


def _predictions(
    plan: ProbePlan, target: Target, split: Split, values: Representation
) -> Predictions:
    known = [example.targets[target.name] for example in split]
    if plan.card.kind == "residue_pair":
        known = [pair_labels(coordinates) for coordinates in known]
    if plan.card.kind in ("residue_pair", "token_class"):
        truth = np.concatenate(known).astype(np.int64)
    else:
        truth = np.array(known, np.float64 if plan.card.kind == "sequence_value" else np.int64)
    lengths = np.array([len(sequence) for sequence in split.sequences], np.int64)
    return Predictions(plan.card.kind, tuple(split.ids), lengths, values, truth, split.clusters)
