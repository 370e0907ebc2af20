"""Convert a checkpoint: to safetensors and config.json, or to Megatron shards of any size.

The work goes on in a folder of its own beside the destination, one file at a time, each complete
once it bears its name: a conversion that was stopped goes on where it was. The folder is read
back, its weights compared with the source's, and only then does it get the destination's name.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from tape_bench import memo
from tape_bench.errors import CheckpointError, StorageError, UsageError
from tape_bench.leftovers import claimed, to_disk
from tape_bench.models.proteinlm.checkpoint import digest, open_checkpoint
from tape_bench.models.proteinlm.folder import (
    CONFIG,
    INDEX,
    NO_TOKEN_TYPES,
    SINGLE,
    config_to_json,
    huggingface_tensors,
)
from tape_bench.models.proteinlm.mapping import Weight, weights
from tape_bench.models.proteinlm.megatron.layout import TRACKER
from tape_bench.models.proteinlm.megatron.writer import Sharding, write_rank
from tape_bench.models.proteinlm.source import WeightSource

Form = Literal["safetensors", "megatron"]

_Files = dict[Path, Callable[[Path], None]]
"""Each file's path in the destination, and what writes it to the path it is given."""

_LARGEST_FILE = 1_000_000_000
_JOB = "conversion.json"


def convert(
    source: WeightSource,
    destination: Path,
    *,
    to: Form = "safetensors",
    dtype: torch.dtype | None = None,
    sharding: Sharding | None = None,
) -> str:
    """Write a checkpoint in another form, and read it back to see that it is the same.

    Args:
        source: the opened checkpoint; see `open_checkpoint`.
        destination: folder to make; it must not exist yet.
        to: `safetensors` for a folder Hugging Face tooling can open, or `megatron`.
        dtype: precision to write; None for that of the source.
        sharding: ranks and version of a Megatron checkpoint. A safetensors folder has no ranks:
            it can be read for any number of them.

    Returns:
        The digest of the weights, the same for the source in this precision.

    Raises:
        UsageError: the destination exists, or the network cannot be cut this way.
        CheckpointError: what was written is not what was read.
        StorageError: the disk is full, or the folder cannot be written.
    """
    _refuse_existing(destination)
    sharding = sharding or Sharding()
    sharding.check(source.config)
    source.check_bytes()
    expected = digest(source, dtype)
    if to == "megatron":
        files = _megatron_files(source, sharding, dtype)
    else:
        files = _safetensors_files(source, dtype, expected)
    job = {"weights": expected, "to": to, "sharding": asdict(sharding), "files": len(files)}
    try:
        _check_space(source, destination.absolute().parent, dtype)
        unfinished = destination.with_name(f".{destination.name}.unfinished")
        with claimed(unfinished, destination):
            _refuse_existing(destination)
            resumed = _start_or_resume(unfinished, job)
            _write_missing(files, unfinished)
            if resumed and not _holds(unfinished, expected):
                # What was left there is not what was written: begin anew.
                _start(unfinished, job)
                _write_missing(files, unfinished)
            if not _holds(unfinished, expected):
                shutil.rmtree(unfinished)
                raise CheckpointError(
                    "the weights read back are not the weights written",
                    where=str(destination),
                    fix="check the disk, and convert again",
                )
            _keep_only(files, unfinished)
            unfinished.replace(destination)
            to_disk(destination.absolute().parent)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"cannot write: {getattr(error, 'strerror', None) or error}",
            where=str(destination),
            fix="make room or choose another folder; the same command goes on where it stopped",
        ) from error
    return expected


def _refuse_existing(destination: Path) -> None:
    if destination.exists():
        raise UsageError(
            "the destination exists already",
            where=str(destination),
            fix="choose another name, or remove it",
        )


def _start_or_resume(unfinished: Path, job: Mapping[str, Any]) -> bool:
    """Empty the folder to work in, unless the same conversion was begun there; tell if it was."""
    if memo.read(unfinished / _JOB) == job:
        return True
    found = [path.name for path in unfinished.iterdir()]
    if _JOB not in found and not all(name.startswith(f".{_JOB}.") for name in found):
        raise UsageError(
            "in the way: not a folder that an interrupted conversion has left",
            where=str(unfinished),
            fix="move it, or choose another destination",
        )
    _start(unfinished, job)
    return False


def _start(unfinished: Path, job: Mapping[str, Any]) -> None:
    # The note goes last: a folder that has none is somebody's own.
    for path in sorted(unfinished.iterdir(), key=lambda path: path.name == _JOB):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    memo.write(unfinished / _JOB, job)


def _holds(folder: Path, expected: str) -> bool:
    """Tell whether what was written can be read back, and is what was to be written."""
    return memo.attempt(lambda: digest(open_checkpoint(folder))) == expected


def _keep_only(files: _Files, folder: Path) -> None:
    """Remove all that is no part of the result: the note of the job, what a killed run has left."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_dir() and path.relative_to(folder) not in files:
            path.unlink()
    for path in (*folder.rglob("*"), folder):
        to_disk(path)


def _write_missing(files: _Files, folder: Path) -> None:
    for name, write in files.items():
        path = folder / name
        # What is text is soon written again, and no digest would show that it is another.
        text = isinstance(write, partial) and write.func is _write_text
        if text or not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            begun = path.with_name(f"{path.name}.begun")
            write(begun)
            # safetensors makes files for their owner alone.
            begun.chmod(0o644)
            to_disk(begun)
            begun.replace(path)


def _check_space(source: WeightSource, folder: Path, dtype: torch.dtype | None) -> None:
    values = sum(torch.Size(weight.shape).numel() for weight in weights(source.config).values())
    needed = values * (dtype or source.stored_dtype).itemsize
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free",
            where=str(folder),
            fix="make room or choose another folder",
        )


def _safetensors_files(
    source: WeightSource, dtype: torch.dtype | None, weights_digest: str
) -> _Files:
    """Plan a Hugging Face folder: weights in files of about a gigabyte, an index, the config."""
    kept_as = dtype or source.stored_dtype
    groups = list(_groups(source, kept_as))
    names = [SINGLE]
    if len(groups) > 1:
        count = len(groups)
        names = [f"model-{n:05d}-of-{count:05d}.safetensors" for n in range(1, count + 1)]
    files: _Files = {
        Path(name): partial(_write_group, source, group, dtype)
        for name, group in zip(names, groups, strict=True)
    }
    if len(groups) > 1:
        index = {
            huggingface: name
            for name, group in zip(names, groups, strict=True)
            for weight in group
            for huggingface in weight.huggingface
        }
        if not source.config.token_types:
            index[NO_TOKEN_TYPES] = names[0]
        files[Path(INDEX)] = partial(_write_text, _json({"weight_map": index}))
    described = config_to_json(source.config, source.origin, kept_as, weights_digest)
    files[Path(CONFIG)] = partial(_write_text, _json(described))
    return files


def _groups(source: WeightSource, dtype: torch.dtype) -> Iterator[list[Weight]]:
    group: list[Weight] = []
    size = 0
    for weight in weights(source.config).values():
        more = torch.Size(weight.shape).numel() * dtype.itemsize
        if group and size + more > _LARGEST_FILE:
            yield group
            group, size = [], 0
        group.append(weight)
        size += more
    yield group


def _write_group(
    source: WeightSource, group: list[Weight], dtype: torch.dtype | None, path: Path
) -> None:
    tensors = {}
    for weight in group:
        tensor = source.read(weight.name, dtype=dtype)
        tensors.update(huggingface_tensors(weight, tensor, source.config.heads))
        if weight.name == "word.weight" and not source.config.token_types:
            tensors[NO_TOKEN_TYPES] = tensor.new_zeros(1, source.config.hidden)
    save_file(tensors, path, metadata={"format": "pt"})


def _write_text(content: str, path: Path) -> None:
    path.write_text(content, encoding="utf-8")


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2) + "\n"


def _megatron_files(source: WeightSource, sharding: Sharding, dtype: torch.dtype | None) -> _Files:
    """Plan a Megatron checkpoint root: the ranks' files, and the tracker that names them."""
    numbered = re.fullmatch(r"iter_(\d+)", source.origin.revision)
    folder = source.origin.revision if numbered else "release"
    iteration = int(numbered[1]) if numbered else 0
    files: _Files = {
        Path(folder) / path: partial(
            write_rank, source, rank, stage, sharding, dtype=dtype, iteration=iteration
        )
        for path, rank, stage in sharding.ranks()
    }
    latest = str(iteration) if numbered else "release"
    files[Path(TRACKER)] = partial(_write_text, latest)
    return files
