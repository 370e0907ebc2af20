"""Scores of predictions that another program made: read, joined to a split, recorded."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from tape_bench import paths
from tape_bench.cards import TaskCard
from tape_bench.data.digests import digest_of
from tape_bench.errors import DataError, UsageError, unknown_name
from tape_bench.leftovers import claimed
from tape_bench.models.embedder import Identity
from tape_bench.progress import Progress
from tape_bench.protocols.interface import Predicted
from tape_bench.protocols.truth import beside_truth
from tape_bench.results import store
from tape_bench.results.record import RunRecord
from tape_bench.run.evaluate import recorded
from tape_bench.run.plan import cards_of, plan
from tape_bench.run.settings import Settings

NO_PREDICTION = "no prediction in the file"
_LISTED = 5


def score(
    task: str | TaskCard,
    predictions: str | Path,
    *,
    name: str,
    split: str | None = None,
    data: str | Path | None = None,
    out: str | Path | None = None,
) -> RunRecord:
    """Score predictions of another program, and write a run record of protocol `external`.

    Args:
        task: a task's name, card file or card.
        predictions: a CSV (`id` or `sequence`, and `value`, `class` or `classes`), or an npz with
            an array for each id; see docs/models.md.
        name: what stands in tables for whatever made them.
        split: the test split they are of; the task's headline if not given.
        data: as in `evaluate`.
        out: results root; `results`, or `trials` for the sample.

    Raises:
        UsageError: no such task or split, or a name that cannot stand in a table.
        DataError: the data or the predictions cannot be read, do not fit together, or none of the
            predictions is of this split.
        StorageError: the record cannot be written.
    """
    (card,) = cards_of(task)
    wanted = split or card.headline
    if wanted not in card.splits_of("test"):
        raise unknown_name("test split", wanted, card.splits_of("test"))
    if not name.strip() or len(name) > 80 or any(sign in name for sign in "/\\\n\t"):
        raise UsageError(f"{name[:80]!r} cannot stand in a table", fix="give a short name")
    path = paths.expand(predictions)
    digest = digest_of(path, paths.cache()).sha256
    settings = Settings.of({"data": data, "protocol": "external", "splits": (wanted,), "out": out})
    planned = plan(card, _identity(name, path, digest), settings)
    begun = time.perf_counter()
    from tape_bench.data.formats.answers import read_answers

    whole = planned.examples()[wanted]
    answers = read_answers(path, whole)
    covered = answers.covered
    if not covered:
        known = ", ".join(whole.ids[:_LISTED])
        given = ", ".join(answers.unknown[:_LISTED]) or "none"
        raise DataError(
            f"none of the predictions is of the split {wanted} of {card.name}",
            where=str(path),
            fix=f"its ids are such as {known}; those in the file: {given}",
        )
    left_out = len(whole) - len(covered)
    kept = whole.take(np.array(covered))
    if left_out:
        kept = replace(kept, left_out={**whole.left_out, NO_PREDICTION: left_out}).checked()
    found = Predicted()
    for target in card.targets:
        values = answers.by_target.get(target.name)
        if values is None:
            found.absent[target.name] = f"the file has no predictions of {target.name}"
        else:
            rows = np.concatenate([values[place] for place in covered])
            found.predictions[target.name, wanted] = {0: beside_truth(kept, target, rows)}
    found.selected = {"unknown_ids": len(answers.unknown)}
    place = planned.path
    with claimed(store.work_path(place), place):
        seconds = {"read": time.perf_counter() - begun}
        record = recorded(planned, {wanted: kept}, found, Progress(), seconds)
        return store.write(place, record)


def _identity(name: str, path: Path, digest: str) -> Identity:
    return Identity(
        spec=f"predictions:{path.name}",
        name=name.strip(),
        revision=digest[:12],
        weights_digest=None,
        parameters=0,
        hidden_size=0,
        longest_input=None,
        pretraining=None,
        reading={"predictions": digest},
    )
