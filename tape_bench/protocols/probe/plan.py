"""The protocol `probe`: what can be read off frozen representations.

The encoder is never changed. Each channel is standardised by the training split. The default
heads are convex problems solved on train, once a target; others are trained for each seed. The
penalty (or epoch) with the lowest loss on valid is kept; the test splits are only ever predicted.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

from pydantic import JsonValue

from tape_bench.cards import Kind, Role, TaskCard
from tape_bench.errors import UsageError, unknown_name
from tape_bench.heads.catalogue import HEADS, HeadEntry
from tape_bench.models.embedder import Embedder, Identity, Pool
from tape_bench.progress import Progress
from tape_bench.protocols.interface import Assignment, Predicted

if TYPE_CHECKING:
    from tape_bench.embedding.embeddings import Embeddings, Request

VERSION = "2"
"""Changes when the protocol changes in a way that can change a score."""

DEFAULT_SEEDS = (0, 1, 2)
"""Of heads that are trained: one seed says nothing about seed variance."""


@dataclass(frozen=True)
class Probe:
    """The protocol; see the top of this file."""

    head: str | None = None
    """Name of a head; the model's only head or the card's default if None."""

    requires: ClassVar[Sequence[type[object]]] = (Embedder,)
    kinds: ClassVar[Sequence[Kind]] = get_args(Kind)

    def roles(self, card: TaskCard) -> Sequence[Role]:
        """All: a head is trained and chosen before it is tested."""
        return ("train", "valid", "test")

    def plan(self, card: TaskCard, identity: Identity, seeds: tuple[int, ...] | None) -> ProbePlan:
        """Decide the head, the pooling and the seeds of a task for a model.

        Raises:
            UsageError: no such head for this kind of task, or not one this model makes sense with.
        """
        known = HEADS[card.kind]
        chosen = self.head or identity.only_head or card.head
        if chosen not in known:
            raise unknown_name("head", chosen, known)
        if identity.only_head not in (None, chosen):
            raise UsageError(
                f"the model {identity.name} makes sense with the head {identity.only_head} only",
                fix=f"leave out the head, or choose a model other than {identity.name}",
            )
        entry = known[chosen]
        pool: Pool = "residues" if entry.aligned else card.pool
        return ProbePlan(card, chosen, entry, pool, _seeds(seeds, chosen, entry))


@dataclass(frozen=True)
class ProbePlan:
    """A probe decided: which head, on which pooling, trained how."""

    card: TaskCard
    head: str
    entry: HeadEntry
    pool: Pool
    seeds: tuple[int, ...] = (0,)
    """One head is trained for each."""
    version: str = VERSION

    @property
    def seed_matters(self) -> bool:
        """Whether the scores depend on the seed: not where the head is solved."""
        return self.entry.recipe is not None

    @property
    def resolved(self) -> dict[str, JsonValue]:
        """Every choice that can change a score, for the record."""
        choices: dict[str, JsonValue] = {"head": self.head, "pool": self.pool}
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

    def needs(self, task: Assignment) -> list[Request]:
        """Ask for every distinct sequence of all splits."""
        # It brings torch, which planning a run or finding it done must not wait for.
        from tape_bench.embedding.embeddings import Request

        read = dict.fromkeys(s for split in task.examples.values() for s in split.sequences)
        return [Request(tuple(read), self.pool, task.window)]

    def run(self, task: Assignment, embeddings: Embeddings, progress: Progress) -> Predicted:
        """Train a head for every target and seed, and predict the validation and test splits."""
        from tape_bench.protocols.probe import fit

        return fit.fit(self, task, embeddings, progress)


def _seeds(asked: tuple[int, ...] | None, head: str, entry: HeadEntry) -> tuple[int, ...]:
    """Return the seeds to train with; a head that is solved needs one, which changes nothing."""
    if entry.recipe is not None:
        return asked or DEFAULT_SEEDS
    if asked and len(asked) > 1:
        warnings.warn(
            f"the head {head} is solved, not trained: seeds change nothing, and it is solved once",
            stacklevel=4,
        )
    return (0,)
