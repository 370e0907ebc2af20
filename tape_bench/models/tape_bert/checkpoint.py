"""TAPE's checkpoint folder: the table of names, and reading it without running what it holds."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tape_bench.bounded import parse_json, read_text
from tape_bench.data.vocabulary import TAPE_IUPAC
from tape_bench.errors import CheckpointError
from tape_bench.models.tape_bert.network import TapeBert, TapeBertConfig
from tape_bench.models.zip_checksums import READING, check_pickle, check_tensors, is_legacy

LAYERS = {
    "norm": "embeddings.LayerNorm",
    "pooler": "pooler.dense",
}
"""Our names of layers with a weight and a bias, and TAPE's."""

BLOCK = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "mix_norm": "attention.output.LayerNorm",
    "widen": "intermediate.dense",
    "narrow": "output.dense",
    "narrow_norm": "output.LayerNorm",
}
"""The same within `blocks.N` and `encoder.layer.N`."""

TABLES = {
    "words.weight": "embeddings.word_embeddings.weight",
    "positions.weight": "embeddings.position_embeddings.weight",
    "types.weight": "embeddings.token_type_embeddings.weight",
}
"""Embeddings."""

HEAD = {
    "masked_head.dense.weight": "mlm.transform.dense.weight",
    "masked_head.dense.bias": "mlm.transform.dense.bias",
    "masked_head.norm.weight": "mlm.transform.LayerNorm.weight",
    "masked_head.norm.bias": "mlm.transform.LayerNorm.bias",
    "masked_head.bias": "mlm.bias",
}
"""The masked-language-model head, which some checkpoints have."""

TASK_HEADS = ("predict.", "classify.")
"""What the names of a fine-tuned head's weights begin with."""

TIED = "mlm.decoder.weight"
"""TAPE's second name for the word embeddings, in checkpoints with that head."""


@dataclass(frozen=True)
class Weights:
    """Tensors by our names, still in the file's precision."""

    tensors: Mapping[str, Tensor]
    masked_head: bool


def read_config(folder: Path) -> TapeBertConfig:
    """Read the shape of the network from `config.json`.

    Raises:
        CheckpointError: no such file, or entries that are missing or make no sense.
    """
    path = folder / "config.json"
    try:
        config = TapeBertConfig.model_validate(parse_json(read_text(path)))
    except OSError as error:
        raise CheckpointError(
            f"cannot read the shape of the network: {error.strerror}",
            where=str(path),
            fix="give the folder that holds config.json and pytorch_model.bin",
        ) from error
    except ValidationError as error:
        faults = [
            f"  - {'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise CheckpointError(
            "not the configuration of TAPE's transformer:\n" + "\n".join(faults), where=str(path)
        ) from None
    except ValueError as error:
        raise CheckpointError(
            f"not the configuration of TAPE's transformer, in JSON: {error}", where=str(path)
        ) from None
    if config.vocab_size != len(TAPE_IUPAC.tokens):
        raise CheckpointError(
            f"a vocabulary of {config.vocab_size} tokens; TAPE's has {len(TAPE_IUPAC.tokens)}",
            where=str(path),
            fix="use a checkpoint of TAPE's PyTorch code with the iupac vocabulary",
        )
    return config


def read_weights(folder: Path, config: TapeBertConfig) -> Weights:
    """Read every tensor of `pytorch_model.bin`, and see that it is just the tensors needed.

    Names may start with `bert.` (models with a head) or not (the bare encoder).

    Raises:
        CheckpointError: the file cannot be read, or tensors are missing, left over, damaged, of
            another shape or not finite numbers, or the head is not tied to the word embeddings.
    """
    path = folder / "pytorch_model.bin"
    found = _read(path)
    prefix = "bert." if any(name.startswith("bert.") for name in found) else ""
    masked_head = any(name.startswith("mlm.") for name in found)
    if config.num_hidden_layers > len(found):
        raise CheckpointError(
            f"{config.num_hidden_layers} layers are more than the file has tensors",
            where=str(path),
            fix="give the config.json that belongs to these weights",
        )
    # What a task's head has is not the encoder's: `finetuned:FOLDER` reads it.
    found = {name: one for name, one in found.items() if not name.startswith(TASK_HEADS)}
    names = _names(config.num_hidden_layers, prefix, masked_head)
    wanted = {*names.values(), *([TIED] if masked_head else [])}
    _refuse("missing", sorted(wanted - found.keys()), path)
    _refuse("left over", sorted(found.keys() - wanted), path)
    _refuse("not numbers", [n for n, t in found.items() if not t.is_floating_point()], path)
    _refuse("not finite", [n for n, t in found.items() if not t.isfinite().all()], path)
    tensors = {ours: found[theirs] for ours, theirs in names.items()}
    with torch.device("meta"):
        shapes = TapeBert(config, masked_head=masked_head).state_dict()
    _refuse(
        "of another shape than config.json says",
        [
            f"{names[name]} {list(tensor.shape)} instead of {list(shapes[name].shape)}"
            for name, tensor in tensors.items()
            if tensor.shape != shapes[name].shape
        ],
        path,
    )
    if masked_head and not torch.equal(found[TIED], tensors["words.weight"]):
        raise CheckpointError(f"{TIED} differs from the word embeddings", where=str(path))
    return Weights(tensors, masked_head)


def read_task_head(folder: Path) -> dict[str, Tensor]:
    """Return the weights of a fine-tuned head, in float32; none where there is no such head.

    Raises:
        CheckpointError: the file cannot be read, or some are not finite numbers.
    """
    path = folder / "pytorch_model.bin"
    found = {
        name: one
        for name, one in _read(path).items()
        if name.startswith(TASK_HEADS) and not name.endswith("num_batches_tracked")
    }
    _refuse("not numbers", [n for n, t in found.items() if not t.is_floating_point()], path)
    _refuse("not finite", [n for n, t in found.items() if not t.isfinite().all()], path)
    return {name: one.float() for name, one in found.items()}


def _names(blocks: int, prefix: str, masked_head: bool) -> dict[str, str]:
    """Return every tensor's name, ours to TAPE's."""
    layers = LAYERS | {
        f"blocks.{number}.{ours}": f"encoder.layer.{number}.{theirs}"
        for number in range(blocks)
        for ours, theirs in BLOCK.items()
    }
    encoder = TABLES | {
        f"{ours}.{part}": f"{theirs}.{part}"
        for ours, theirs in layers.items()
        for part in ("weight", "bias")
    }
    names = {ours: prefix + theirs for ours, theirs in encoder.items()}
    return names | HEAD if masked_head else names


def _refuse(fault: str, names: Iterable[str], path: Path) -> None:
    listed = list(names)
    if listed:
        shown = "\n".join(f"  - {name}" for name in listed[:12])
        more = f"\n  … and {len(listed) - 12} more" if len(listed) > 12 else ""
        raise CheckpointError(
            f"{len(listed)} tensor{'s' * (len(listed) > 1)} {fault}:\n{shown}{more}",
            where=str(path),
            fix="only TAPE's transformer can be read here, bare or with its mlm head",
        )


def _read(path: Path) -> dict[str, Tensor]:
    zipped = zipfile.is_zipfile(path)
    if path.is_file():
        if not zipped and not is_legacy(path):
            raise _no_weights(path)
        check_pickle(path)
    try:
        # Files older than torch 1.6 are no zip archives, and cannot be mapped.
        found: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except FileNotFoundError as error:
        raise CheckpointError("there are no weights", where=str(path)) from error
    except pickle.UnpicklingError as error:
        foreign = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            f"refused to unpickle {foreign[1]}, which could run code of its author"
            if foreign
            else "not a file of PyTorch weights",
            where=str(path),
            fix="save the state_dict alone: torch.save(model.state_dict(), path)",
        ) from None
    except READING as error:
        raise _no_weights(path) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in found.items()
    ):
        raise CheckpointError("holds more than tensors by name", where=str(path))
    if zipped:
        check_tensors(path, found)
    return found


def _no_weights(path: Path) -> CheckpointError:
    return CheckpointError(
        "not a file of PyTorch weights, or cut short", where=str(path), fix="copy it again"
    )
