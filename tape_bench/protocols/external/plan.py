"""The protocol `external`: `tape-bench score` reads predictions, and no run makes any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, get_args, runtime_checkable

from pydantic import JsonValue

from tape_bench.cards import Kind, Role, TaskCard
from tape_bench.models.embedder import Identity
from tape_bench.progress import Progress
from tape_bench.protocols.interface import Assignment, Predicted

if TYPE_CHECKING:
    from tape_bench.embedding.embeddings import Embeddings, Request


@runtime_checkable
class PredictsByItself(Protocol):
    """What no model is: predictions come from a file, by `tape-bench score TASK FILE`."""

    @property
    def predictions_file(self) -> str:
        """Where they are."""


@dataclass(frozen=True)
class External:
    """How predictions came about is known to those who made them."""

    requires: ClassVar[Sequence[type[object]]] = (PredictsByItself,)
    kinds: ClassVar[Sequence[Kind]] = get_args(Kind)

    def roles(self, card: TaskCard) -> Sequence[Role]:
        """Only what was predicted."""
        return ("test",)

    def plan(self, card: TaskCard, identity: Identity, seeds: tuple[int, ...] | None) -> Read:
        """Decide nothing: the file is what it is."""
        return Read(dict(identity.reading))


@dataclass(frozen=True)
class Read:
    """Predictions of a file."""

    resolved: Mapping[str, JsonValue]
    version: ClassVar[str] = "1"
    seeds: ClassVar[tuple[int, ...]] = (0,)
    seed_matters: ClassVar[bool] = True
    """Nobody knows what luck there was in their making."""

    def needs(self, task: Assignment) -> Sequence[Request]:
        """Ask for no representations."""
        return ()

    def run(self, task: Assignment, embeddings: Embeddings, progress: Progress) -> Predicted:
        """Make no predictions; see `tape_bench.run.external`."""
        raise AssertionError("a model that predicts by itself is scored by tape_bench.run.external")
