"""The story of a run, top to bottom: plan, examples, represent, fit, score, record.

`evaluate` is the whole program in one call; each function below it is the next step in.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tape_bench import memo, paths, protocols
from tape_bench.atomic import storage_error
from tape_bench.cache.precision import stored_as
from tape_bench.cards import TaskCard
from tape_bench.data import locate
from tape_bench.data.examples import Split
from tape_bench.data.opening import SAMPLE
from tape_bench.embedding.executors.session import Session, assemble
from tape_bench.errors import (
    DataError,
    ModelError,
    PeerLostError,
    StorageError,
    TapeBenchError,
    TasksFailedError,
    UsageError,
)
from tape_bench.leftovers import claimed
from tape_bench.models.embedder import Embedder, Identity
from tape_bench.models.evidence import agree
from tape_bench.models.function import Function, from_function, takes_sequences
from tape_bench.progress import Progress
from tape_bench.protocols.interface import JointPlan, Predicted, check_model
from tape_bench.results import provenance, store
from tape_bench.results.record import (
    PredictionsRecord,
    ProvenanceRecord,
    ResourcesRecord,
    RunRecord,
)
from tape_bench.run.plan import RunPlan, cards_of, plan, tasks_for
from tape_bench.run.settings import Settings

if TYPE_CHECKING:
    from tape_bench.embedding.embeddings import Embeddings, Request


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
    model: str | Embedder | Function,
    tasks: str | TaskCard | Sequence[str | TaskCard] = (),
    *,
    name: str | None = None,
    rerun: bool = False,
    progress: Progress | None = None,
    model_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> list[RunRecord]:
    """Score a model on tasks and return the run records, one a task.

    Args:
        model: a spec such as `onehot`, any object with `identity` and `embed`, or a function that
            takes a list of sequences and returns an array for each, `[residues, width]` or
            `[width]`.
        tasks: names, card files or cards; every task the model can serve if empty.
        name: what a function is called in tables; its own name if not given.
        rerun: compute again, representations included, even where a complete record exists.
        progress: hears of progress.
        model_options: passed to `load_model`, e.g. `{"dtype": "bfloat16"}`.
        settings: fields of `tape_bench.run.settings.Settings`: `data`, `protocol`, `splits`,
            `seeds`, `limit`, `length_policy`, `longest`, `out`, `devices`, …; and the protocol's
            own options, such as the probe's `head`.

    Raises:
        UsageError: an unknown task or setting, a value that makes no sense, or a model that cannot
            do what the protocol requires.
        DataError: there are no data of any of these tasks.
        TasksFailedError: some tasks failed; the others were run and recorded before it is raised.
    """
    asked = Settings.of(settings)
    cards = cards_of(tasks)
    embedder = _embedder(model, name)
    session = assemble(embedder, model_options or {}, asked.devices, asked.tensor_parallel)
    outcomes = list(run_tasks(session, cards, asked, rerun=rerun, progress=progress))
    if failed := faults(outcomes):
        complete = sum(outcome.error is None for outcome in outcomes)
        raise TasksFailedError(
            "\n".join(f"{names} failed: {error}" for names, error in failed),
            fix=f"the other tasks ({complete}) are complete and recorded",
        ) from failed[0][1]
    return [outcome.record for outcome in outcomes if outcome.record]


def _embedder(model: str | Embedder | Function, name: str | None) -> str | Embedder:
    if not isinstance(model, str | Embedder) and takes_sequences(model):
        return from_function(model, name)
    if name is not None:
        raise UsageError(
            "only a function is given a name",
            fix="a model names itself, in its identity: leave name out",
        )
    return model  # type: ignore[return-value]


def run_tasks(
    session: Session,
    tasks: Sequence[str | TaskCard],
    settings: Settings,
    *,
    rerun: bool = False,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Run tasks: represent what all of them read, then fit and score one after the other.

    A task that fails does not stop the others.

    Raises:
        UsageError: an unknown task, or a model that cannot do what the protocol requires; found
            out before any work, and so are the next two.
        DataError: there are no data of any of these tasks.
        StorageError: the results folder cannot be written.
        PeerLostError: one of several processes has died.
    """
    progress = progress or Progress()
    identity = session.identity
    check_protocol(session, settings)
    cards = cards_of(tasks or tasks_for(identity, settings))
    absent = _without_data(cards, settings)
    store.check_writable(settings.out)
    decided = [
        Outcome(card.name, error=absent[card.name])
        if card.name in absent
        else _decide(card, identity, settings, rerun)
        for card in cards
    ]
    waiting = [planned for planned in decided if isinstance(planned, RunPlan)]
    if not waiting:
        yield from (outcome for outcome in decided if isinstance(outcome, Outcome))
        return
    # It brings torch; a run that is complete already starts without it.
    from tape_bench.embedding.embeddings import open_embeddings

    with open_embeddings(
        session,
        stored_as(identity, settings.cache_dtype),
        tokens_per_batch=settings.tokens_per_batch,
        limit=settings.cache_limit,
        anew=rerun,
    ) as embeddings:
        progress.begin(identity.name)
        _represent_all(waiting, embeddings, progress)
        joint = all(isinstance(one.steps, JointPlan) for one in waiting)
        rest = embeddings if joint else embeddings.meet()
        # Of several processes one goes on, unless all are needed.
        if rest is not None:
            for number, one in enumerate(decided, 1):
                if isinstance(one, Outcome):
                    yield one
                else:
                    progress.begin(one.card.name, number, len(decided))
                    yield _run(one, rest, rerun, progress)


def check_protocol(session: Session, settings: Settings) -> None:
    """Refuse a model that cannot do what the protocol requires.

    Raises:
        UsageError: names the model, and what it lacks.
    """
    protocol = protocols.load_protocol(settings.protocol, settings.options)
    check_model(settings.protocol, protocol, session.model, session.identity)


def faults(outcomes: Sequence[Outcome]) -> list[tuple[str, TapeBenchError]]:
    """Return what went wrong, an error that several tasks share once: `a, b` and the error."""
    shared: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.error:
            shared.setdefault(str(outcome.error), []).append(outcome)
    return [
        (", ".join(one.task for one in alike), alike[0].error)
        for alike in shared.values()
        if alike[0].error
    ]


def _without_data(cards: Sequence[TaskCard], settings: Settings) -> dict[str, DataError]:
    if str(settings.data) == SAMPLE:
        return {}
    place = paths.data() if settings.data is None else paths.expand(settings.data)
    return locate.without_data(cards, place)


def _decide(
    card: TaskCard, identity: Identity, settings: Settings, rerun: bool
) -> RunPlan | Outcome:
    """Plan one task; where there is nothing to do, or nothing can be done, say so."""
    try:
        planned = plan(card, identity, settings)
        if not rerun and (record := complete_record(planned)):
            return Outcome(card.name, record, planned.path, reused=True)
    except TapeBenchError as error:
        return Outcome(card.name, error=error)
    return planned


def _represent_all(waiting: Sequence[RunPlan], embeddings: Embeddings, progress: Progress) -> None:
    """Compute what the tasks read, a sequence that several of them read once."""
    needs: list[Request] = []
    # A task with faulty data, or one the model cannot take, fails when it is its turn.
    for planned in waiting:
        with contextlib.suppress(TapeBenchError):
            needs += planned.steps.needs(planned.assignment(planned.examples()))
    with contextlib.suppress(ModelError):
        embeddings.fill(
            needs, lambda done, total: progress.advance("represent", done, total, "residues")
        )


def _run(planned: RunPlan, embeddings: Embeddings, rerun: bool, progress: Progress) -> Outcome:
    """Run one task and write its record, whole or failed."""
    if not embeddings.session.executor.leads:
        # Another process writes the record of what all do together, or of what went wrong.
        try:
            planned.steps.run(planned.assignment(planned.examples()), embeddings, progress)
        except PeerLostError:
            raise
        except TapeBenchError as error:
            return Outcome(planned.card.name, error=error)
        return Outcome(planned.card.name)
    path, name = planned.path, planned.card.name
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(claimed(store.work_path(path), path))
        except OSError as error:
            return Outcome(name, error=storage_error(error, path))
        except StorageError as error:
            return Outcome(name, error=error)  # another process is at it
        return _run_alone(planned, embeddings, rerun, progress)


def _run_alone(
    planned: RunPlan, embeddings: Embeddings, rerun: bool, progress: Progress
) -> Outcome:
    path, name = planned.path, planned.card.name
    try:
        if rerun:
            for left in store.work_path(path).iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        store.write(path, planned.record())
        return Outcome(name, store.write(path, run(planned, embeddings, progress)), path)
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


def run(planned: RunPlan, embeddings: Embeddings, progress: Progress) -> RunRecord:
    """Do what the plan says: examples, then the protocol, then scores."""
    account = provenance.collect([provenance.processor()])
    begun = time.perf_counter()
    examples = planned.examples()
    seconds = {"read": time.perf_counter() - begun}
    found = planned.steps.run(planned.assignment(examples), embeddings, progress)
    return recorded(
        planned,
        examples,
        found,
        progress,
        {**seconds, **found.seconds},
        account=account,
        residues_per_second=embeddings.rate,
        recomputed=embeddings.computed.recomputed,
    )


def recorded(
    planned: RunPlan,
    examples: Mapping[str, Split],
    found: Predicted,
    progress: Progress,
    seconds: Mapping[str, float],
    *,
    account: ProvenanceRecord | None = None,
    residues_per_second: float | None = None,
    recomputed: int = 0,
) -> RunRecord:
    """Score what was predicted, keep the predictions, and return the complete record."""
    # These bring torch; a run that is complete already starts without it.
    from tape_bench.data.leakage import overlap
    from tape_bench.results.predictions import keep_predictions
    from tape_bench.run.scores import metric_records

    examples = {name: _covered(split, found.left_out.get(name)) for name, split in examples.items()}
    for (_, split), by_seed in found.predictions.items():
        assert set(by_seed) == set(planned.seeds), "every seed, and no other"
        for predictions in by_seed.values():
            assert set(predictions.ids) == set(examples[split].ids), "every example, and no other"
    account = account or provenance.collect([provenance.processor()])
    scoring = time.perf_counter()
    metrics = metric_records(planned, found.predictions, found.absent, progress)
    path = planned.path
    kept = store.predictions_path(path)
    digest = keep_predictions(kept, found.predictions)
    draft = planned.record(examples)
    record = planned.record(
        examples,
        status="complete",
        protocol=draft.protocol.model_copy(update={"selected": found.selected}),
        metrics=metrics,
        leakage=overlap(planned.data) if planned.trains else {},
        resources=ResourcesRecord(
            seconds={**seconds, "score": time.perf_counter() - scoring},
            residues=found.residues,
            residues_per_second=residues_per_second,
            recomputed_in_float32=recomputed,
            peak_memory_bytes=provenance.peak_memory(),
        ),
        provenance=account.model_copy(update={"finished": provenance.now()}),
        predictions=PredictionsRecord(file=kept.name, digest=digest),
    )
    _keep_folders(found.folders, store.models_path(path))
    shutil.rmtree(store.work_path(path), ignore_errors=True)
    return record


def _covered(split: Split, left_out: Mapping[str, str] | None) -> Split:
    """Return a split without the examples that nothing could be predicted for, counted."""
    if not left_out:
        return split
    rows = [row for row, id in enumerate(split.ids) if id not in left_out]
    counts = Counter(left_out.values())
    return replace(split.take(rows), left_out={**split.left_out, **counts}).checked()


def _keep_folders(folders: Mapping[str, Path], place: Path) -> None:
    """Move what outlives the run out of its work folder.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        for name, folder in folders.items():
            place.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(place / name, ignore_errors=True)
            folder.replace(place / name)
    except OSError as error:
        raise storage_error(error, place) from error
