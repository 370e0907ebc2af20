"""What a protocol promises: how one gets from a model and a task's examples to predictions.

It is all that planning and running know of one. Nothing of a protocol is imported here, so that a
run that is complete already starts without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydantic import JsonValue

from tape_bench.cards import Kind, Role, TaskCard
from tape_bench.data.examples import Split
from tape_bench.errors import UsageError
from tape_bench.models.embedder import Identity
from tape_bench.progress import Progress
from tape_bench.scoring.predictions import Predictions

if TYPE_CHECKING:
    from tape_bench.embedding.embeddings import Embeddings, Request


@dataclass(frozen=True)
class Assignment:
    """One task of a run as a protocol gets it."""

    examples: Mapping[str, Split]
    """The splits the protocol reads, by name, the length policy applied."""
    window: int | None
    """Residues read at once of a longer protein that is kept whole; None where none is."""
    run_key: str
    """Stands for everything that can change a score: what another key left is not believed."""
    work: Path
    """Folder where an unfinished run may keep what it has done; it goes when the run is complete.
    """


@dataclass
class Predicted:
    """What a protocol makes of a task: predictions, and how they came about."""

    predictions: dict[tuple[str, str], dict[int, Predictions]] = field(default_factory=dict)
    """By target and split, then by seed: of every example of every split but train."""
    absent: dict[str, str] = field(default_factory=dict)
    """Targets that could not be predicted, with the reason."""
    selected: dict[str, JsonValue] = field(default_factory=dict)
    """What was chosen on the validation split, and how, by `target/seed`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by phase."""
    residues: int = 0
    """Residues read."""
    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    """Examples that nothing could be predicted for, by split: id and reason. They are counted, and
    not scored."""
    folders: dict[str, Path] = field(default_factory=dict)
    """Folders in the work folder that are to be kept beside the record, by name: trained models."""


class Plan(Protocol):
    """A protocol decided for one task and one model; nothing has been computed yet."""

    @property
    def version(self) -> str:
        """Changes when the protocol changes in a way that can change a score."""

    @property
    def resolved(self) -> Mapping[str, JsonValue]:
        """Every choice that can change a score, for the run key and the record."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """Predictions are made once for each."""

    @property
    def seed_matters(self) -> bool:
        """Whether the scores depend on the seed."""

    def needs(self, task: Assignment) -> Sequence[Request]:
        """Say which representations `run` will ask for.

        They are computed in one pass over the model for all tasks of a run. A protocol that asks
        the model itself needs none.
        """

    def run(self, task: Assignment, embeddings: Embeddings, progress: Progress) -> Predicted:
        """Predict every split but train.

        Args:
            task: the examples, and where to keep what is half done.
            embeddings: representations of the model, and `embeddings.model` itself.
            progress: hears of progress.

        Raises:
            ModelError: the model cannot take the examples, or training became unstable.
            StorageError: the disk is full or cannot be written.
        """


@runtime_checkable
class JointPlan(Plan, Protocol):
    """A plan that all processes of a run carry out together; the first one's answer counts."""

    @property
    def joint(self) -> bool:
        """True."""


@runtime_checkable
class EvaluationProtocol(Protocol):
    """A way from a model to predictions. Its options are the fields of the dataclass it is."""

    @property
    def requires(self) -> Sequence[type[object] | tuple[type[object], ...]]:
        """What the model must be able to do, e.g. `(MaskedLanguageModel,)`: runtime protocols.

        Of several in a tuple, one will do.
        """

    def roles(self, card: TaskCard) -> Sequence[Role]:
        """Return which splits of a task it reads; a card without the others is as good."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """Which kinds of task it can score."""

    def plan(self, card: TaskCard, identity: Identity, seeds: tuple[int, ...] | None) -> Plan:
        """Decide everything that can change a score.

        Args:
            card: the task.
            identity: the model.
            seeds: what the user asked for; None for the protocol's own.

        Raises:
            UsageError: the task, the model and the options do not fit together.
        """


def check_model(name: str, protocol: EvaluationProtocol, model: object, identity: Identity) -> None:
    """Refuse a model that cannot do what a protocol requires.

    Raises:
        UsageError: names the model, and what it lacks.
    """
    for promise in protocol.requires:
        alternatives = promise if isinstance(promise, tuple) else (promise,)
        lacks = [[m for m in _members(one) if not _has(model, m)] for one in alternatives]
        if all(lacks):
            named = " or ".join(one.__name__ for one in alternatives)
            raise UsageError(
                f"the protocol {name} cannot score {identity.name}: it is no {named}, "
                f"it lacks {' and '.join(lacks[0])}",
                where=f"adapter {type(model).__module__}.{type(model).__qualname__}",
                fix="choose another protocol, or a model that can do this",
            )


def check_card(name: str, protocol: EvaluationProtocol, card: TaskCard) -> None:
    """Refuse a card of a kind that a protocol cannot score, or without a split that it reads.

    Raises:
        UsageError: names the protocol, and the kind or the split.
    """
    if card.kind not in protocol.kinds:
        raise UsageError(
            f"the protocol {name} cannot score {card.name}",
            fix=f"it scores tasks of kind {', '.join(protocol.kinds)} only",
        )
    there = {split.role for split in card.splits.values()}
    for role in protocol.roles(card):
        if role not in there:
            raise UsageError(
                f"the protocol {name} reads a {role} split, and the card of {card.name} has none",
                fix=f"declare a split of role {role} under [splits], or choose another protocol",
            )


def _members(promise: type[object]) -> list[str]:
    """Return what a structural protocol asks for, that of its bases included."""
    parts = [part for part in promise.__mro__ if getattr(part, "_is_protocol", False)]
    return sorted(
        {name for part in parts for name in vars(part) if not name.startswith("_")}
        | {name for part in parts for name in vars(part).get("__annotations__", {})}
    )


def _has(model: object, member: str) -> bool:
    # A property need not be computed to be there.
    return hasattr(type(model), member) or hasattr(model, member)
