"""A trained model on disk: what it was made from, what moved, and its head.

A folder holds `tape-bench.json`, which says all that is no weight; `head.safetensors`; and of the
encoder either `encoder.safetensors`, the weights that moved, or `adapter_model.safetensors` and
`adapter_config.json`, low ranks as the library peft keeps them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from tape_bench.atomic import replace
from tape_bench.bounded import parse_json, read_text
from tape_bench.cards import Kind
from tape_bench.errors import CheckpointError
from tape_bench.models import lora
from tape_bench.models.embedder import Identity, Pool
from tape_bench.models.tensor_files import Tensors
from tape_bench.models.trainable import TrainableNetwork, replace_weights
from tape_bench.protocols.finetune import moves
from tape_bench.protocols.finetune.train import Training

ABOUT = "tape-bench.json"
HEAD = "head.safetensors"
ENCODER = "encoder.safetensors"
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"

_LARGEST = 1 << 20
"""Bytes of what is no weight."""

_Text = Annotated[str, Field(max_length=1000)]


class Base(BaseModel):
    """The model that training began from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: _Text
    name: _Text
    revision: _Text
    weights_digest: _Text | None
    longest_input: int | None
    layer: int | None
    reading: dict[_Text, _Text]


class LowRanks(BaseModel):
    """Low ranks that were added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(ge=1, le=4096)
    alpha: float
    maps: tuple[_Text, ...]


class About(BaseModel):
    """All about a trained model that is no weight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(ge=1, le=1)
    base: Base
    task: _Text
    task_version: _Text
    kind: Kind
    target: _Text
    outputs: int = Field(ge=1, le=1_000_000)
    head: _Text
    pool: Pool
    centre: float
    spread: float
    what_moved: _Text
    lora: LowRanks | None
    seed: int
    run_key: _Text


def write(training: Training, identity: Identity, run_key: str, folder: Path) -> None:
    """Write a trained model, its best weights in place.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    plan, recipe, scorer = training.plan, training.recipe, training.scorer
    network = scorer.network
    _save(folder / HEAD, scorer.head.state_dict())
    low = None
    if recipe.moves == "lora":
        rank = moves.rank_of(recipe)
        low = LowRanks(rank=rank.rank, alpha=rank.alpha, maps=rank.maps)
        _save(folder / ADAPTER, lora.to_peft(network))
        config = lora.peft_config(rank, network, identity.spec)
        config["base_weights_digest"] = identity.weights_digest
        _write(folder / ADAPTER_CONFIG, json.dumps(config, indent=1))
    else:
        own = network.weights.named_parameters()
        _save(folder / ENCODER, {name: weight for name, weight in own if weight.requires_grad})
    about = About(
        format=1,
        base=Base(
            spec=identity.spec,
            name=identity.name,
            revision=identity.revision,
            weights_digest=identity.weights_digest,
            longest_input=identity.longest_input,
            layer=identity.layer,
            reading=identity.reading,
        ),
        task=plan.card.name,
        task_version=plan.card.version,
        kind=plan.card.kind,
        target=training.target.name,
        outputs=training.target.classes or 1,
        head=recipe.head,
        pool=plan.pool,
        centre=training.scale.centre,
        spread=training.scale.spread,
        what_moved=str(plan.resolved["what_moved"]),
        lora=low,
        seed=training.seed,
        run_key=run_key,
    )
    # What names the others comes last.
    _write(folder / ABOUT, about.model_dump_json(indent=1))


def read_about(folder: Path) -> About:
    """Read what a folder says it holds.

    Raises:
        CheckpointError: it holds no trained model of ours.
    """
    path = folder / ABOUT
    try:
        return About.model_validate(parse_json(read_text(path, _LARGEST)))
    except ValidationError as error:
        first = error.errors()[0]
        raise CheckpointError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=str(path),
            fix="get the folder again, or train again",
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"cannot be read: {error}", where=str(path), fix="get the folder again"
        ) from None


def encoder_weights(
    folder: Path, about: About, make: Callable[[], TrainableNetwork]
) -> Mapping[str, Tensor]:
    """Return the encoder's weights that moved, low ranks merged into them.

    Raises:
        CheckpointError: files are missing, broken, or not of this encoder.
    """
    if about.lora is None:
        return _load(folder / ENCODER)
    network = make()
    lora.attach(network, lora.Rank(about.lora.rank, about.lora.alpha, about.lora.maps))
    lora.load_peft(network, _load(folder / ADAPTER))
    return lora.merged(network)


def load_head(folder: Path, head: torch.nn.Module) -> None:
    """Fill a head with the folder's weights.

    Raises:
        CheckpointError: they are missing, broken, or those of another head.
    """
    tensors = _load(folder / HEAD)
    own = head.state_dict()
    if set(own) != set(tensors) or any(own[name].shape != tensors[name].shape for name in own):
        raise CheckpointError(
            f"the weights are not those of a head {type(head).__name__} of this size",
            where=str(folder / HEAD),
            fix="get the folder again, or train again",
        )
    head.load_state_dict(tensors)


def load_into(network: TrainableNetwork, folder: Path, about: About) -> None:
    """Put the folder's encoder weights into a network, low ranks beside its own."""
    if about.lora is None:
        replace_weights(network.weights, _load(folder / ENCODER), str(folder))
        return
    lora.attach(network, lora.Rank(about.lora.rank, about.lora.alpha, about.lora.maps))
    lora.load_peft(network, _load(folder / ADAPTER))


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    whole = {name: one.detach().contiguous().cpu() for name, one in tensors.items()}
    replace(path, lambda temporary: save_file(whole, temporary))


def _write(path: Path, text: str) -> Any:
    replace(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def _load(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise CheckpointError("there is no such file", where=str(path), fix="get the folder again")
    with Tensors([path]) as tensors:
        found = {name: tensors.read(name) for name in tensors}
    for name, tensor in found.items():
        if not tensor.is_floating_point() and tensor.dtype != torch.int64:
            raise CheckpointError(f"{name} holds no numbers of a network", where=str(path))
        if not tensor.isfinite().all():
            raise CheckpointError(f"{name} has values that are not finite", where=str(path))
    return found
