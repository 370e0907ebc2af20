"""The story of a run, top to bottom: plan, examples, represent, fit, score, record.

`evaluate` is the whole program in one call; each function below it is the next step in.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tape_bench.cards import TaskCard
from tape_bench.errors import TapeBenchError, TasksFailedError
from tape_bench.models import load_model
from tape_bench.models.embedder import Embedder
from tape_bench.plan import RunPlan, Settings, plan, tasks_for
from tape_bench.results import provenance, store
from tape_bench.results.record import PredictionsRecord, ResourcesRecord, RunRecord
from tape_bench.storage import replace
from tape_bench.watch import Watch


@dataclass(frozen=True)
class Outcome:
    """How one task ended: with a record, or with an error that left the other tasks alone."""

    task: str
    record: RunRecord | None = None
    path: Path | None = None
    error: TapeBenchError | None = None
    reused: bool = False
    """True where a complete record was there already."""


def evaluate(
    model: str | Embedder,
    tasks: str | Sequence[str | TaskCard] = (),
    *,
    rerun: bool = False,
    watch: Watch | None = None,
    model_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[RunRecord]:
    """Score a model on tasks and return the run records, one a task.

    Args:
        model: a spec such as `onehot`, or any object with `identity` and `embed`.
        tasks: names, card files or cards; every task the model can serve if empty.
        rerun: compute again even where a complete record exists.
        watch: hears of progress.
        model_options: passed to `load_model`, e.g. `{"dtype": "bfloat16"}`.
        settings: fields of `tape_bench.plan.Settings`: `data`, `protocol`, `head`, `splits`,
            `seeds`, `limit`, `length_policy`, `longest`, `out`.

    Raises:
        TasksFailedError: some tasks failed; the others were run and recorded before it is raised.
    """
    asked = Settings.of(settings)
    embedder = load_model(model, **(model_options or {})) if isinstance(model, str) else model
    chosen = [tasks] if isinstance(tasks, str) else list(tasks)
    outcomes = list(run_tasks(embedder, chosen, asked, rerun=rerun, watch=watch))
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        raise TasksFailedError(
            "\n".join(f"{outcome.task} failed: {outcome.error}" for outcome in failed),
            fix=f"the other tasks ({len(outcomes) - len(failed)}) are complete and recorded",
        ) from failed[0].error
    return [outcome.record for outcome in outcomes if outcome.record]


def run_tasks(
    model: Embedder,
    tasks: Sequence[str | TaskCard],
    settings: Settings,
    *,
    rerun: bool = False,
    watch: Watch | None = None,
) -> Iterator[Outcome]:
    """Run task after task; one that fails does not stop the others.

    Raises:
        StorageError: the results folder cannot be written, found out before any work.
    """
    store.check_writable(settings.out)
    for task in tasks or tasks_for(model.identity):
        name = task if isinstance(task, str) else task.name
        try:
            yield _run_or_reuse(model, task, settings, rerun, watch or Watch())
        except TapeBenchError as error:
            yield Outcome(name, error=error)


def _run_or_reuse(
    model: Embedder, task: str | TaskCard, settings: Settings, rerun: bool, watch: Watch
) -> Outcome:
    planned = plan(task, model.identity, settings)
    path = planned.path
    name = planned.card.name
    if not rerun and (record := complete_record(path)):
        return Outcome(name, record, path, reused=True)
    watch.begin(name)
    if rerun:
        shutil.rmtree(store.work_path(path), ignore_errors=True)
    store.write(path, planned.record())
    try:
        record = run(planned, model, watch)
    except TapeBenchError as error:
        store.write(path, planned.record(status="failed", error=str(error)))
        raise
    return Outcome(name, store.write(path, record), path)


def complete_record(path: Path) -> RunRecord | None:
    """Return the record at a path if it is complete and its predictions are whole."""
    if not path.is_file():
        return None
    record = store.read(path)
    kept = store.predictions_path(path)
    whole = (
        record.status == "complete"
        and record.predictions is not None
        and kept.is_file()
        and store.file_digest(kept) == record.predictions.digest
    )
    return record if whole else None


def run(planned: RunPlan, model: Embedder, watch: Watch) -> RunRecord:
    """Do what the plan says: examples, representations, heads, predictions, figures."""
    # These bring torch; a run that is complete already starts without it.
    from tape_bench.data.leakage import overlap
    from tape_bench.figures import metric_records
    from tape_bench.fitting import fit
    from tape_bench.scoring import archive

    account = provenance.collect([provenance.processor()])
    begun = time.perf_counter()
    examples = planned.examples()
    read = time.perf_counter()
    fitted = fit(planned, examples, model, watch)
    scoring = time.perf_counter()
    metrics = metric_records(planned, fitted.predictions, fitted.absent, watch)
    path = planned.path
    kept = store.predictions_path(path)
    replace(kept, lambda temporary: archive.save(temporary, fitted.predictions))
    seconds = {
        "read": read - begun,
        **fitted.seconds,
        "score": time.perf_counter() - scoring,
    }
    draft = planned.record(examples)
    record = planned.record(
        examples,
        status="complete",
        protocol=draft.protocol.model_copy(update={"selected": fitted.selected}),
        metrics=metrics,
        leakage=overlap(planned.data),
        resources=ResourcesRecord(
            seconds=seconds,
            residues=fitted.residues,
            residues_per_second=fitted.residues / seconds["represent"] if fitted.residues else None,
            recomputed_in_float32=getattr(model, "recomputed_in_float32", 0),
            peak_memory_bytes=provenance.peak_memory(),
        ),
        provenance=account.model_copy(update={"finished": provenance.now()}),
        predictions=PredictionsRecord(file=kept.name, digest=store.file_digest(kept)),
    )
    shutil.rmtree(store.work_path(path), ignore_errors=True)
    return record
