"""Where a Megatron-LM checkpoint's shards lie: from any path a user may give to its rank files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tape_bench import text
from tape_bench.errors import CheckpointError

TRACKER = "latest_checkpointed_iteration.txt"
SHARD = "model_optim_rng.pt"

_RANK = re.compile(r"mp_rank_(\d{1,9})(?:_(\d{1,9}))?", re.ASCII)

_MOST_SHARDS = 65_536


@dataclass(frozen=True)
class Layout:
    """The shard files of one checkpoint."""

    revision: str
    """Name of the iteration, e.g. `iter_0123000` or `release`."""
    shards: tuple[tuple[Path, ...], ...]
    """Files by pipeline stage, then by tensor-parallel rank."""


def find(path: Path) -> Layout:
    """Find the shards of a checkpoint.

    Args:
        path: a checkpoint root with its tracker file, an `iter_*` or `release` folder, an
            `mp_rank_*` folder, or one `model_optim_rng.pt`.

    Raises:
        CheckpointError: nothing is there, or a rank is missing.
    """
    if path.is_file():
        return Layout(_revision(path), ((path,),))
    if not path.is_dir():
        raise CheckpointError(
            "there is no such checkpoint", where=str(path), fix="give an existing path"
        )
    if (path / TRACKER).is_file():
        path = _tracked(path)
    if (path / SHARD).is_file():
        return Layout(_revision(path / SHARD), ((path / SHARD,),))
    ranks = {
        (int(found[1]), None if found[2] is None else int(found[2])): folder
        for folder in path.iterdir()
        if (found := _RANK.fullmatch(folder.name))
    }
    if not ranks:
        raise CheckpointError(
            "no checkpoint is in this folder",
            where=str(path),
            fix=f"give a folder with {TRACKER}, with mp_rank_* folders, or with config.json and "
            "model.safetensors" + _iterations(path),
        )
    return Layout(path.name, _grid(ranks, path))


def _tracked(root: Path) -> Path:
    tracker = root / TRACKER
    with tracker.open(encoding="utf-8", errors="replace") as file:
        latest = file.read(100).strip()
    name = latest if latest == "release" else f"iter_{latest.zfill(7)}"
    if not re.fullmatch(r"release|iter_\d+", name):
        raise CheckpointError(
            f"holds {latest[:40]!r} where an iteration or 'release' should stand",
            where=str(tracker),
        )
    if not (root / name).is_dir():
        raise CheckpointError(
            f"names {name}, but that folder is not there",
            where=str(tracker),
            fix=f"get {name}, or give the folder you have" + _iterations(root),
        )
    return root / name


def _grid(ranks: dict[tuple[int, int | None], Path], folder: Path) -> tuple[tuple[Path, ...], ...]:
    """Order the rank folders by number, not by name, and see that none is missing."""
    staged = {stage is not None for _, stage in ranks}
    if len(staged) > 1:
        raise CheckpointError(
            "some rank folders name a pipeline stage and some do not",
            where=str(folder),
            fix="two checkpoints share this folder; move one away",
        )
    stages: list[int | None] = [None]
    most = max(stage or 0 for _, stage in ranks) + 1
    # A number in the name of one folder is no reason to look for a billion others.
    if most * (max(rank for rank, _ in ranks) + 1) > _MOST_SHARDS:
        raise CheckpointError(
            f"shards are missing: a folder here is one of more than {_MOST_SHARDS}, and there are "
            f"{len(ranks)}",
            where=str(folder),
            fix=f"each of these folders must hold {SHARD}; get them all",
        )
    if staged == {True}:
        stages = list(range(most))
    grid = tuple(
        tuple(
            ranks.get((rank, stage), folder / _rank_name(rank, stage)) / SHARD
            for rank in range(max(rank for rank, _ in ranks) + 1)
        )
        for stage in stages
    )
    missing = [shard.parent.name for row in grid for shard in row if not shard.is_file()]
    if missing:
        raise CheckpointError(
            f"shards are missing: {text.names(missing)}",
            where=str(folder),
            fix=f"each of these folders must hold {SHARD}; get them all",
        )
    return grid


def _rank_name(rank: int, stage: int | None) -> str:
    return f"mp_rank_{rank:02d}" + ("" if stage is None else f"_{stage:03d}")


def shard_path(rank: int, stage: int, stages: int) -> Path:
    """Return where Megatron keeps a rank's file, relative to the iteration's folder."""
    return Path(_rank_name(rank, stage if stages > 1 else None)) / SHARD


def _revision(shard: Path) -> str:
    """Name the iteration a lone file belongs to: its folder's name, or its own."""
    for folder in shard.absolute().parents[:2]:
        if re.fullmatch(r"release|iter_\d+", folder.name):
            return folder.name
    return shard.stem if shard.name != SHARD else "unknown"


def _iterations(root: Path) -> str:
    found = sorted(entry.name for entry in root.glob("iter_*"))
    found += [entry.name for entry in root.glob("release")]
    return f" (here are: {', '.join(found)})" if found else ""
