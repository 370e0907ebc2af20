"""What a run has predicted so far, one target and seed at a time, kept until the record is whole.

The account is written last, carries the digest of its predictions and names the run, the target
and the seed: anything else is not believed, and made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from tape_bench import memo
from tape_bench.cards import Kind
from tape_bench.protocols.interface import Assignment, Predicted
from tape_bench.results import store
from tape_bench.results.predictions import keep_predictions, read_predictions
from tape_bench.scoring.predictions import Predictions


def keep(
    task: Assignment,
    target: str,
    seed: int,
    predictions: Mapping[str, Predictions],
    selected: JsonValue,
) -> None:
    """Keep the predictions of one target and seed, by split, and what was selected.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    file, account = _places(task.work, target, seed)
    kept = {(target, split): {seed: one} for split, one in predictions.items()}
    digest = keep_predictions(file, kept)
    told = {"head": [task.run_key, target, seed], "predictions": digest, "selected": selected}
    memo.write(account, told)


def recall(task: Assignment, kind: Kind, target: str, seed: int, found: Predicted) -> bool:
    """Take in what an interrupted run has kept, if it is whole and of this run."""
    file, account = _places(task.work, target, seed)
    told = memo.read(account)
    if told is None or told.get("head") != [task.run_key, target, seed]:
        return False
    if memo.attempt(lambda: store.file_digest(file)) != told.get("predictions"):
        return False
    kept = memo.attempt(lambda: read_predictions(file, kind))
    if kept is None:
        return False
    found.selected[f"{target}/{seed}"] = told["selected"]
    for key, by_seed in kept.items():
        found.predictions.setdefault(key, {}).update(by_seed)
    return True


def _places(work: Path, target: str, seed: int) -> tuple[Path, Path]:
    """Return where predictions are kept, and the account of them."""
    return work / f"{target}-{seed}.npz", work / f"{target}-{seed}.json"
