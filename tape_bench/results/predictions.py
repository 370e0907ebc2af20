"""Predictions kept by example id, with the truth beside them, so that any score can be checked.

One compressed NumPy archive a run: `<target>/<split>/ids | lengths | targets | clusters | seed<k>`.
The same predictions give the same bytes, whatever order they came in.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tape_bench.cards import Kind
from tape_bench.errors import RecordError
from tape_bench.scoring.predictions import Predictions

BySplit = Mapping[tuple[str, str], Mapping[int, Predictions]]
"""(target, split) -> seed -> predictions."""


def write_predictions(path: Path, kept: BySplit) -> None:
    """Write predictions of any number of targets, splits and seeds to one file."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for (target, split), by_seed in sorted(kept.items()):
        place = f"{target}/{split}"
        for seed, predictions in sorted(by_seed.items()):
            arrays.setdefault(f"{place}/ids", np.array(predictions.ids))
            arrays.setdefault(f"{place}/lengths", predictions.lengths)
            arrays.setdefault(f"{place}/targets", predictions.targets)
            if predictions.clusters is not None:
                arrays.setdefault(f"{place}/clusters", predictions.clusters)
            arrays[f"{place}/seed{seed}"] = predictions.values
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read_predictions(path: Path, kind: Kind) -> dict[tuple[str, str], dict[int, Predictions]]:
    """Read what `write_predictions` wrote.

    Raises:
        RecordError: the file is missing, cut short or not such an archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise RecordError(
            f"cannot read the predictions: {error}",
            where=str(path),
            fix="run the task again with --rerun",
        ) from error
    kept: dict[tuple[str, str], dict[int, Predictions]] = {}
    for name in sorted(arrays):
        target, split, part = name.split("/")
        if part.startswith("seed"):
            place = f"{target}/{split}"
            kept.setdefault((target, split), {})[int(part[4:])] = Predictions(
                kind=kind,
                ids=tuple(arrays[f"{place}/ids"].tolist()),
                lengths=arrays[f"{place}/lengths"],
                values=arrays[name],
                targets=arrays[f"{place}/targets"],
                clusters=arrays.get(f"{place}/clusters"),
            )
    return kept


def seeds_in_order(by_seed: Mapping[int, Predictions]) -> Sequence[Predictions]:
    """Return one target's predictions on one split, lowest seed first."""
    return [by_seed[seed] for seed in sorted(by_seed)]
