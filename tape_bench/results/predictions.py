"""Predictions kept by example id, with the truth beside them, so that any score can be checked.

One compressed NumPy archive a run: `<target>/<split>/ids | lengths | targets | clusters | seed<k>`.
The same predictions give the same bytes, whatever order they came in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench.atomic import replace
from tape_bench.cards import Kind
from tape_bench.data.formats.npz import read_npz
from tape_bench.errors import RecordError
from tape_bench.results.store import file_digest
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


def keep_predictions(path: Path, kept: BySplit) -> str:
    """Write predictions whole or not at all, and return the SHA-256 of the file.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    digests: list[str] = []

    def fill(temporary: Path) -> None:
        write_predictions(temporary, kept)
        # Of what was written here: another process may put its own in the place.
        digests.append(file_digest(temporary))

    replace(path, fill)
    return digests[-1]


def read_predictions(path: Path, kind: Kind) -> dict[tuple[str, str], dict[int, Predictions]]:
    """Read what `write_predictions` wrote.

    Raises:
        RecordError: the file is missing, cut short, not such an archive, or what is in it cannot be
            predictions.
    """
    try:
        return _read(read_npz(path), kind)
    except (OSError, ValueError, KeyError, TypeError, AssertionError, IndexError) as error:
        raise RecordError(
            f"cannot read the predictions: {error}",
            where=str(path),
            fix="run the task again with --rerun",
        ) from error


def _read(
    arrays: Mapping[str, NDArray[Any]], kind: Kind
) -> dict[tuple[str, str], dict[int, Predictions]]:
    kept: dict[tuple[str, str], dict[int, Predictions]] = {}
    for name in sorted(arrays):
        target, split, part = name.split("/")
        if part.startswith("seed"):
            place = f"{target}/{split}"
            kept.setdefault((target, split), {})[int(part[4:])] = _checked(
                kind,
                arrays[f"{place}/ids"],
                arrays[f"{place}/lengths"],
                arrays[name],
                arrays[f"{place}/targets"],
                arrays.get(f"{place}/clusters"),
            )
    return kept


def _checked(
    kind: Kind,
    ids: NDArray[Any],
    lengths: NDArray[Any],
    values: NDArray[Any],
    targets: NDArray[Any],
    clusters: NDArray[Any] | None,
) -> Predictions:
    """See that arrays can be predictions at all: their types, their shapes, the range of classes.

    Raises:
        ValueError: they cannot.
    """
    classes = kind in ("token_class", "sequence_class")
    for array, what, kinds, dimensions in (
        (ids, "ids", "U", 1),
        (lengths, "lengths", "iu", 1),
        (values, "predictions", "f", 2 if classes else 1),
        (targets, "targets", "f" if kind == "sequence_value" else "iu", 1),
        (clusters, "clusters", "iu", 1),
    ):
        if array is not None and (array.dtype.kind not in kinds or array.ndim != dimensions):
            raise ValueError(f"the {what} are {array.dtype}, {list(array.shape)}")
    if lengths.size and (lengths.min() < 0 or lengths.max() > 1 << 31):
        raise ValueError("lengths of no protein")
    lowest = 0 if kind == "sequence_class" else -1
    if classes and targets.size and not lowest <= targets.min() <= targets.max() < values.shape[1]:
        raise ValueError("classes that nothing was predicted for")
    if kind == "residue_pair" and targets.size and not -1 <= targets.min() <= targets.max() <= 1:
        raise ValueError("contacts are 0, 1 or -1")
    return Predictions(kind, tuple(ids.tolist()), lengths, values, targets, clusters)


def seeds_in_order(by_seed: Mapping[int, Predictions]) -> Sequence[Predictions]:
    """Return one target's predictions on one split, lowest seed first."""
    return [by_seed[seed] for seed in sorted(by_seed)]
