"""A run decided: everything that can change a score, before anything is computed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from tape_bench import protocols, registry
from tape_bench.cache.precision import kept_on_disk, stored_as
from tape_bench.cards import LengthPolicy, Role, TaskCard
from tape_bench.data.examples import Split, TaskData, load_task
from tape_bench.data.lengths import apply_length_policy
from tape_bench.errors import UsageError, unknown_name
from tape_bench.models.embedder import Identity
from tape_bench.models.evidence import Evidence
from tape_bench.protocols.interface import Assignment, Plan, check_card
from tape_bench.results import provenance, store
from tape_bench.results.record import (
    DataRecord,
    EvidenceRecord,
    ModelRecord,
    ProtocolRecord,
    RunRecord,
    SplitRecord,
    TaskRecord,
)
from tape_bench.run.settings import Settings
from tape_bench.scoring import intervals
from tape_bench.scoring.metrics import find

LEVEL = 0.95
"""Confidence level of every interval."""
DRAWS = 2000
"""Bootstrap draws of every interval."""

# What a model answers to probes is compared as numbers, when a record is looked for.
_NO_PART_OF_A_KEY = {"spec", "control", "pretraining", "rests_on"}


@dataclass(frozen=True)
class RunPlan:
    """One task of a run: what is read, what is trained, what is scored, and its key."""

    card: TaskCard
    data: TaskData
    identity: Identity
    settings: Settings
    steps: Plan
    """The protocol's own plan: its choices, its seeds, and what it will do."""
    reads: tuple[str, ...]
    """Splits the protocol reads."""
    tests: tuple[str, ...]
    """Test splits to score."""
    policy: LengthPolicy
    longest: int | None
    run_key: str

    @cached_property
    def path(self) -> Path:
        """Where the record belongs."""
        return store.place(
            self.settings.out,
            model=(self.identity.name, self.identity.revision),
            task=self.card.name,
            data=(self.data.status, self.data.digest),
            protocol=self.settings.protocol,
            run_key=self.run_key,
        )

    @property
    def seeds(self) -> tuple[int, ...]:
        """Predictions are made once for each."""
        return self.steps.seeds

    @property
    def trains(self) -> bool:
        """True where the protocol reads the training split."""
        return any(self.data[name].role == "train" for name in self.reads)

    def examples(self) -> dict[str, Split]:
        """Return the splits this run reads, with the length policy applied and counted."""
        return {
            name: apply_length_policy(self.data[name], self.policy, self.longest).checked()
            for name in self.reads
        }

    def assignment(self, examples: Mapping[str, Split]) -> Assignment:
        """Return what the protocol is given to do."""
        window = self.longest if self.policy == "window" else None
        return Assignment(examples, window, self.run_key, store.work_path(self.path))

    def record(self, examples: Mapping[str, Split] | None = None, **changes: Any) -> RunRecord:
        """Return the record as far as it is known, with `changes` on top."""
        known: dict[str, Any] = {
            "run_key": self.run_key,
            "status": "started",
            "task": _task_record(self.card, self.data, examples or self.data),
            "model": model_record(self.identity),
            "protocol": ProtocolRecord(
                id=self.settings.protocol,
                version=self.steps.version,
                given={
                    **dict.fromkeys(protocols.option_names(self.settings.protocol)),
                    **self.settings.options,
                    "seeds": self.settings.seeds and list(self.settings.seeds),
                    "length_policy": self.settings.length_policy,
                },
                resolved=dict(self.steps.resolved)
                | {"length_policy": self.policy, "longest": self.longest}
                | _kept_in_half(self.identity, self.settings),
                seeds=list(self.seeds),
                seed_matters=self.steps.seed_matters,
            ),
            "limit": self.settings.limit,
            "provenance": provenance.collect([provenance.processor()]),
        }
        return RunRecord.model_validate(known | changes)


def plan(task: str | TaskCard, identity: Identity, settings: Settings) -> RunPlan:
    """Decide a run of one task.

    Raises:
        TapeBenchError: the card, the data, the model and the settings do not fit together.
    """
    card = registry.task(task) if isinstance(task, str) else task
    if identity.kinds is not None and card.kind not in identity.kinds:
        raise UsageError(
            f"{identity.name} cannot serve {card.name}",
            fix=f"it serves tasks of kind {', '.join(identity.kinds)} only",
        )
    for metric in card.metrics:
        find(metric.definition, card.kind)
    protocol = protocols.load_protocol(settings.protocol, settings.options)
    check_card(settings.protocol, protocol, card)
    steps = protocol.plan(card, identity, settings.seeds)
    learnt_from = [card.split_of(role) for role in protocol.roles(card) if role != "test"]
    joined = _joined(card, settings, learns=bool(learnt_from))
    roles = get_args(Role) if joined else protocol.roles(card)
    data = load_task(card, data=settings.data, limit=settings.limit, roles=roles)
    for name in joined:
        data = data.joined(name)
    tests = tuple(name for name in _tests(card, settings.splits) if name in data)
    policy = settings.length_policy or card.length.policy
    limits = (settings.longest, card.length.longest, identity.longest_input)
    longest = min((limit for limit in limits if limit is not None), default=None)
    decided = {
        "task": card.model_dump(include={"name", "version", "kind", "targets", "metrics"}),
        "data": data.digest,
        "model": model_record(identity).model_dump(exclude=_NO_PART_OF_A_KEY),
        **({"rests_on": identity.rests_on.digest} if identity.rests_on else {}),
        "protocol": [settings.protocol, steps.version, steps.resolved],
        "tests": tests,
        "seeds": steps.seeds,
        "limit": settings.limit,
        "length": [policy, longest],
        **_kept_in_half(identity, settings),
        "interval": [LEVEL, DRAWS, intervals.VERSION],
        "clusters": _clusters(data),
    }
    key = hashlib.sha256(json.dumps(decided, sort_keys=True).encode()).hexdigest()
    reads = (*learnt_from, *tests)
    return RunPlan(card, data, identity, settings, steps, reads, tests, policy, longest, key)


def _kept_in_half(identity: Identity, settings: Settings) -> dict[str, str]:
    """Say so where representations are rounded on their way to the heads."""
    stored = stored_as(identity, settings.cache_dtype)
    return {"representations": stored} if kept_on_disk(identity) and stored != "float32" else {}


def cards_of(tasks: str | TaskCard | Iterable[str | TaskCard]) -> list[TaskCard]:
    """Return the cards of the tasks named, each once.

    Raises:
        UsageError: no such task.
        CardError: a card has faults.
    """
    named = [tasks] if isinstance(tasks, str | TaskCard) else tasks
    cards = [registry.task(task) if isinstance(task, str) else task for task in named]
    return list({card.digest: card for card in cards}.values())


def _clusters(data: TaskData) -> dict[str, str]:
    """Digest which proteins are said to belong together; the data's own digest leaves it out."""
    named = {name: split.columns.clusters for name, split in data.items()}
    return {
        name: hashlib.sha256(json.dumps(clusters).encode()).hexdigest()
        for name, clusters in named.items()
        if clusters is not None
    }


def tasks_for(identity: Identity, settings: Settings) -> list[str]:
    """Return the built-in tasks that a model can serve and the protocol can score."""
    kinds = protocols.load_protocol(settings.protocol, settings.options).kinds
    return [
        name
        for name in registry.task_names()
        for kind in [registry.task(name).kind]
        if kind in kinds and (identity.kinds is None or kind in identity.kinds)
    ]


def model_record(identity: Identity) -> ModelRecord:
    """Return the record's account of a model."""
    return ModelRecord(
        spec=identity.spec,
        name=identity.name,
        revision=identity.revision,
        weights_digest=identity.weights_digest,
        parameters=identity.parameters,
        hidden_size=identity.hidden_size,
        longest_input=identity.longest_input,
        dtype=identity.dtype,
        layer=identity.layer,
        reading=dict(identity.reading),
        pretraining=None if identity.pretraining is None else list(identity.pretraining),
        control=identity.control,
        rests_on=_evidence_record(identity.rests_on),
    )


def _evidence_record(evidence: Evidence | None) -> EvidenceRecord | None:
    if evidence is None:
        return None
    return EvidenceRecord(
        code=evidence.code, packages=evidence.packages, probes=list(evidence.probes)
    )


def _task_record(card: TaskCard, data: TaskData, splits: Mapping[str, Split]) -> TaskRecord:
    return TaskRecord(
        id=card.name,
        version=card.version,
        kind=card.kind,
        card_digest=card.digest,
        headline=card.headline,
        primary=card.primary,
        data=DataRecord(
            source=data.source,
            status=data.status,
            reason=data.reason,
            digest=data.digest,
            splits={
                name: SplitRecord(
                    digest=data[name].digest,
                    n_total=data[name].n_total,
                    n_scored=split.n_scored,
                    n_skipped=dict(split.skipped),
                    n_shortened=dict(split.shortened),
                )
                for name, split in splits.items()
            },
        ),
    )


def _joined(card: TaskCard, settings: Settings, *, learns: bool) -> list[str]:
    """Return the splits to put together first: none but those that are named.

    Raises:
        UsageError: they hold what the protocol learns from, or is said to have learnt from.
    """
    joined = [name for name in settings.splits if name in card.joined]
    for name in joined:
        only = card.joined[name].protocol
        if learns or settings.protocol != only:
            raise UsageError(
                f"the split {name} holds proteins that are learnt from under {settings.protocol}",
                fix=f"score it with --protocol {only}, without any training",
            )
    return joined


def _tests(card: TaskCard, wanted: tuple[str, ...]) -> list[str]:
    tests = card.splits_of("test")
    known = [*tests, *card.joined]
    for name in wanted:
        if name not in known:
            raise unknown_name("test split", name, known)
    return [name for name in known if name in (wanted or tests)]
