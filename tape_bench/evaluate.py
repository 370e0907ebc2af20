"""The story of a run, top to bottom: plan, examples, represent, fit, score, record.

`evaluate` is the whole program in one call; each function below it is the next step in.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tape_bench import memo
from tape_bench.cards import TaskCard
from tape_bench.engine.crew import Crew, assemble
from tape_bench.engine.stored import stored_as
from tape_bench.errors import (
    ModelError,
    PeerLostError,
    StorageError,
    TapeBenchError,
    TasksFailedError,
)
from tape_bench.models.embedder import Embedder, Identity
from tape_bench.models.evidence import agree
from tape_bench.plan import RunPlan, Settings, plan, tasks_for
from tape_bench.results import provenance, store
from tape_bench.results.record import PredictionsRecord, ResourcesRecord, RunRecord
from tape_bench.storage import replace
from tape_bench.watch import Watch

if TYPE_CHECKING:
    from tape_bench.engine.library import Library


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
        rerun: compute again, representations included, even where a complete record exists.
        watch: hears of progress.
        model_options: passed to `load_model`, e.g. `{"dtype": "bfloat16"}`.
        settings: fields of `tape_bench.plan.Settings`: `data`, `protocol`, `head`, `splits`,
            `seeds`, `limit`, `length_policy`, `longest`, `out`, `devices`, …

    Raises:
        TasksFailedError: some tasks failed; the others were run and recorded before it is raised.
    """
    asked = Settings.of(settings)
    crew = assemble(model, model_options or {}, asked.devices, asked.tensor_parallel)
    chosen = [tasks] if isinstance(tasks, str) else list(tasks)
    outcomes = list(run_tasks(crew, chosen, asked, rerun=rerun, watch=watch))
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        raise TasksFailedError(
            "\n".join(f"{outcome.task} failed: {outcome.error}" for outcome in failed),
            fix=f"the other tasks ({len(outcomes) - len(failed)}) are complete and recorded",
        ) from failed[0].error
    return [outcome.record for outcome in outcomes if outcome.record]


def run_tasks(
    crew: Crew,
    tasks: Sequence[str | TaskCard],
    settings: Settings,
    *,
    rerun: bool = False,
    watch: Watch | None = None,
) -> Iterator[Outcome]:
    """Run tasks: represent what all of them read, then fit and score one after the other.

    A task that fails does not stop the others.

    Raises:
        StorageError: the results folder cannot be written, found out before any work.
        PeerLostError: one of several processes has died.
    """
    store.check_writable(settings.out)
    watch = watch or Watch()
    identity = crew.identity
    decided = [_decide(task, identity, settings, rerun) for task in tasks or tasks_for(identity)]
    waiting = [planned for planned in decided if isinstance(planned, RunPlan)]
    if not waiting:
        yield from (outcome for outcome in decided if isinstance(outcome, Outcome))
        return
    # It brings torch; a run that is complete already starts without it.
    from tape_bench.engine.library import open_library

    with open_library(
        crew,
        stored_as(identity, settings.cache_dtype),
        tokens_per_batch=settings.tokens_per_batch,
        limit=settings.cache_limit,
        anew=rerun,
    ) as library:
        watch.begin(identity.name)
        _represent_all(waiting, library, watch)
        if crew.meet():
            for one in decided:
                yield one if isinstance(one, Outcome) else _run(one, library, rerun, watch)


def _decide(
    task: str | TaskCard, identity: Identity, settings: Settings, rerun: bool
) -> RunPlan | Outcome:
    """Plan one task; where there is nothing to do, or nothing can be done, say so."""
    name = task if isinstance(task, str) else task.name
    try:
        planned = plan(task, identity, settings)
        if not rerun and (record := complete_record(planned)):
            return Outcome(planned.card.name, record, planned.path, reused=True)
    except TapeBenchError as error:
        return Outcome(name, error=error)
    return planned


def _represent_all(waiting: Sequence[RunPlan], library: Library, watch: Watch) -> None:
    """Compute what the tasks read, a sequence that several of them read once."""
    from tape_bench.fitting import need

    needs = []
    # A task with faulty data, or one the model cannot take, fails when it is its turn.
    for planned in waiting:
        with contextlib.suppress(TapeBenchError):
            needs.append(need(planned, planned.examples()))
    with contextlib.suppress(ModelError):
        library.fill(
            needs, lambda done, total: watch.progress("represent", done, total, "residues")
        )


def _run(planned: RunPlan, library: Library, rerun: bool, watch: Watch) -> Outcome:
    """Run one task and write its record, whole or failed."""
    path, name = planned.path, planned.card.name
    watch.begin(name)
    try:
        if rerun:
            shutil.rmtree(store.work_path(path), ignore_errors=True)
        store.write(path, planned.record())
        return Outcome(name, store.write(path, run(planned, library, watch)), path)
    except TapeBenchError as error:
        with contextlib.suppress(StorageError):
            store.write(path, planned.record(status="failed", error=str(error)))
        if isinstance(error, PeerLostError):
            raise
        return Outcome(name, error=error)


def complete_record(planned: RunPlan) -> RunRecord | None:
    """Return the record of a plan, if it is complete and all that it stands for still is so.

    That is: nobody and nothing has changed the record or its predictions since they were written,
    and a user's model still answers as it did then.

    Raises:
        RecordError: a newer release wrote the record.
    """
    path, rests_on = planned.path, planned.identity.rests_on
    if not path.is_file():
        return None
    record = store.read_whole(path)
    if record is None:
        warnings.warn(
            f"the record is not what was written, and is made again\n  where: {path}", stacklevel=3
        )
        return None
    if record.status != "complete" or record.run_key != planned.run_key:
        return None
    then = record.model.rests_on
    if rests_on is not None and not (then and agree(then.probes, rests_on.probes)):
        return None
    kept = store.predictions_path(path)
    whole = record.predictions is not None and record.predictions.digest == memo.attempt(
        lambda: store.file_digest(kept)
    )
    return record if whole else None


def run(planned: RunPlan, library: Library, watch: Watch) -> RunRecord:
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
    fitted = fit(planned, examples, library, watch)
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
            residues_per_second=library.rate,
            recomputed_in_float32=library.recomputed,
            peak_memory_bytes=provenance.peak_memory(),
        ),
        provenance=account.model_copy(update={"finished": provenance.now()}),
        predictions=PredictionsRecord(file=kept.name, digest=store.file_digest(kept)),
    )
    shutil.rmtree(store.work_path(path), ignore_errors=True)
    return record
