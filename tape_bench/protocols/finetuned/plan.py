"""The protocol `finetuned`: a checkpoint that was trained on the task predicts, nothing is trained.

What TAPE's `tape-eval` does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast, get_args

from pydantic import JsonValue

from tape_bench.cards import Kind, Role, TaskCard
from tape_bench.models.embedder import Identity, TaskPredictor
from tape_bench.progress import Progress
from tape_bench.protocols.interface import Assignment, Predicted

if TYPE_CHECKING:
    from tape_bench.embedding.embeddings import Embeddings, Request


@dataclass(frozen=True)
class Finetuned:
    """The protocol; see the top of this file."""

    requires: ClassVar[Sequence[type[object]]] = (TaskPredictor,)
    kinds: ClassVar[Sequence[Kind]] = get_args(Kind)

    def roles(self, card: TaskCard) -> Sequence[Role]:
        """Only what is predicted."""
        return ("test",)

    def plan(
        self, card: TaskCard, identity: Identity, seeds: tuple[int, ...] | None
    ) -> FinetunedPlan:
        """Decide nothing: the checkpoint is what it is."""
        return FinetunedPlan(card, {"head": identity.reading.get("head", "unknown")})


@dataclass(frozen=True)
class FinetunedPlan:
    """Predictions of a checkpoint."""

    card: TaskCard
    resolved: Mapping[str, JsonValue]
    version: ClassVar[str] = "1"
    seeds: ClassVar[tuple[int, ...]] = (0,)
    seed_matters: ClassVar[bool] = True
    """One checkpoint says nothing of how much luck there was in its training."""

    def needs(self, task: Assignment) -> Sequence[Request]:
        """Ask for no representations: the model predicts by itself."""
        return ()

    def run(self, task: Assignment, embeddings: Embeddings, progress: Progress) -> Predicted:
        """Predict the test splits."""
        from tape_bench.protocols.finetuned.predict import predicted

        model = cast(TaskPredictor, embeddings.model)
        found = Predicted()
        begun = time.perf_counter()
        own = model.target_of(self.card)
        for target in self.card.targets:
            if target.name != own:
                found.absent[target.name] = f"the checkpoint's head predicts {own} alone"
                continue
            for name, split in task.examples.items():
                if split.has(own):
                    one = predicted(model, split, target, task.window, progress)
                    found.predictions[own, name] = {0: one}
                    found.residues += sum(map(len, split.sequences))
        found.seconds["predict"] = time.perf_counter() - begun
        return found
