"""Builders of run records, as a finished run would have written them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tape_bench import registry
from tape_bench.cards import TaskCard
from tape_bench.results import store
from tape_bench.results.record import (
    DataRecord,
    IntervalRecord,
    MetricRecord,
    ModelRecord,
    PredictionsRecord,
    ProtocolRecord,
    ProvenanceRecord,
    RunRecord,
    SplitRecord,
    TaskRecord,
)
from tape_bench.scoring import archive
from tape_bench.scoring.metrics import score
from tape_bench.scoring.predictions import Predictions

Make = Callable[..., RunRecord]


@pytest.fixture(scope="session")
def cards() -> dict[str, TaskCard]:
    return {name: registry.task(name) for name in registry.task_names()}


@pytest.fixture(scope="session")
def make() -> Make:
    """Build a sealed, complete record of one task; keywords change one thing each."""
    return make_record


def make_record(
    task: str = "fluorescence",
    value: float | None = 0.5,
    *,
    model: str = "bert",
    control: bool = False,
    half_width: float | None = 0.02,
    n: int = 1000,
    status: str = "complete",
    error: str | None = None,
    data: str = "official",
    reason: str = "",
    digest: str = "d" * 64,
    source: str = "tape",
    started: str = "2026-01-01T00:00:00+00:00",
    dtype: str = "float32",
    protocol: str = "probe",
    given: dict[str, Any] | None = None,
    limit: int | None = None,
    undefined: str | None = None,
    commit: str | None = "c" * 40,
    version: str = "0.1.0",
    others: dict[tuple[str, str], float] | None = None,
    run_key: str = "a" * 64,
    seeds: Sequence[int] = (0,),
    solved: bool = True,
    per_seed: Sequence[float | None] | None = None,
) -> RunRecord:
    card = registry.task(task)
    metrics = [_metric(card, card.primary, card.headline, value, half_width, n, undefined)]
    if per_seed is not None:
        metrics[0] = metrics[0].model_copy(update={"per_seed": list(per_seed)})
    metrics += [
        _metric(card, id, split, other, half_width, n, None)
        for (id, split), other in (others or {}).items()
    ]
    record = RunRecord(
        run_key=run_key,
        status=status,
        error=error,
        task=TaskRecord(
            id=card.name,
            version=card.version,
            kind=card.kind,
            card_digest=card.digest,
            headline=card.headline,
            primary=card.primary,
            data=DataRecord(
                source=source,
                status=data,
                reason=reason,
                digest=digest,
                splits={
                    name: SplitRecord(digest=f"{name} of {digest}", n_total=n, n_scored=n)
                    for name in card.splits
                },
            ),
        ),
        model=ModelRecord(
            spec=model,
            name=model,
            revision="1",
            weights_digest=None,
            parameters=0,
            hidden_size=25,
            longest_input=None,
            dtype=dtype,
            layer=None,
            reading={},
            pretraining=None,
            control=control,
        ),
        protocol=ProtocolRecord(
            id=protocol,
            version="1",
            given=given or {},
            resolved=given or {},
            seeds=list(seeds),
            seed_matters=not solved,
        ),
        limit=limit,
        metrics=[] if status != "complete" else metrics,
        provenance=ProvenanceRecord(
            package_version=version,
            git_commit=commit,
            git_dirty=False,
            command=["tape-bench", "run"],
            python="3.11.0",
            packages={},
            devices=["cpu"],
            world=1,
            started=started,
        ),
    )
    return record.model_copy(update={"digest": store.digest(record)})


def _metric(
    card: TaskCard,
    id: str,
    split: str,
    value: float | None,
    half_width: float | None,
    n: int,
    undefined: str | None,
) -> MetricRecord:
    interval = None
    if value is not None and half_width is not None:
        interval = IntervalRecord(
            level=0.95,
            low=value - half_width,
            high=value + half_width,
            method="bootstrap over proteins",
            draws=2000,
        )
    return MetricRecord(
        id=id,
        label=next(metric.label for metric in card.metrics if metric.id == id),
        split=split,
        value=value,
        undefined=undefined,
        per_seed=[value],
        n=n,
        interval=interval,
        higher_is_better="ms" not in id.split(".")[1],
        primary=(id, split) == (card.primary, card.headline),
    )


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Write a run with its predictions, as `tape-bench run` leaves them; return the record."""
    return write_a_run


def write_a_run(
    root: Path, predictions: Predictions | Sequence[Predictions], task: str, **changes: Any
) -> Path:
    """Several predictions are those of seeds 0, 1, 2, ... of a head that was trained."""
    card = registry.task(task)
    target, definition = card.primary.split(".", 1)
    by_seed = [predictions] if isinstance(predictions, Predictions) else predictions
    if len(by_seed) > 1:
        changes = {"seeds": range(len(by_seed)), "solved": False} | changes
    values = [score(definition, one).value for one in by_seed]
    mean = None if None in values else float(np.mean(values))
    record = make_record(task, mean, n=len(by_seed[0].ids), per_seed=values, **changes)
    path = store.path_of(root, record)
    kept = store.predictions_path(path)
    kept.parent.mkdir(parents=True, exist_ok=True)
    numbered = dict(zip(record.protocol.seeds, by_seed, strict=True))
    archive.save(kept, {(target, card.headline): numbered})
    told = PredictionsRecord(file=kept.name, digest=store.file_digest(kept))
    store.write(path, record.model_copy(update={"predictions": told}))
    return path


@pytest.fixture(scope="session")
def measured() -> Callable[..., Predictions]:
    """Values predicted with some noise, always of the same truth: `measured(noise, n, seed)`."""
    return noisy_values


def noisy_values(noise: float, n: int = 400, seed: int = 0) -> Predictions:
    truth = np.random.default_rng(1234).normal(size=n)
    said = truth + noise * np.random.default_rng(seed).normal(size=n)
    return Predictions(
        kind="sequence_value",
        ids=tuple(f"variant{i}" for i in range(n)),
        lengths=np.full(n, 50),
        values=said.astype(np.float32),
        targets=truth,
    )


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Run a verb as from the command line, errors in plain sight."""

    def run(command: click.Command, *arguments: object) -> Result:
        return CliRunner().invoke(command, [str(argument) for argument in arguments])

    return run
