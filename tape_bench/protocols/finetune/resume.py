"""Training that was stopped goes on from here: all that it is made of, written down now and then.

A file of tensors comes first, then the account that names it with its digest. An older pair stays
until the new one is whole, so that a kill loses what came after the last pair at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tape_bench import memo
from tape_bench.atomic import replace
from tape_bench.protocols.finetune.train import Account, Training
from tape_bench.results import store

_NOW, _BEST, _MOMENTS = "now/", "best/", "moments/"


def keep(training: Training, key: list[Any], place: Path) -> None:
    """Write down where training stands.

    Args:
        training: between two steps.
        key: what the files must name to be believed: the run, the target, the seed.
        place: path of the account; tensors go beside it.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    account = training.account
    file = place.with_name(f"{place.stem}.{account.step}.safetensors")
    tensors = {name: one.detach().contiguous().cpu() for name, one in _tensors(training).items()}
    replace(file, lambda temporary: save_file(tensors, temporary))
    account.scaling = training.scaler.state_dict()
    told = {
        "key": key,
        "tokens": training.tokens,
        "file": file.name,
        "digest": store.file_digest(file),
        "account": asdict(account),
    }
    memo.write(place, told)
    for older in place.parent.glob(f"{place.stem}.*.safetensors"):
        if older != file:
            older.unlink(missing_ok=True)


def recall(training: Training, key: list[Any], place: Path) -> bool:
    """Go back to where training stood, if that was written down whole; tell whether it was."""
    told = memo.read(place)
    if told is None or told.get("key") != key:
        return False

    def look() -> tuple[Account, Mapping[str, Tensor]]:
        file = place.with_name(Path(str(told["file"])).name)
        if store.file_digest(file) != told["digest"]:
            raise ValueError("not what was written")
        return Account(**told["account"]), load_file(file)

    found = memo.attempt(look)
    if found is None:
        return False
    account, tensors = found
    training.account, training.tokens = account, int(told["tokens"])
    with torch.no_grad():
        for name, weight in training.moved().items():
            weight.copy_(tensors[_NOW + name])
    training.best = {
        name.removeprefix(_BEST): one.to(training.device)
        for name, one in tensors.items()
        if name.startswith(_BEST)
    }
    for name, weight in training.moved().items():
        prefix = f"{_MOMENTS}{name}/"
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if own:
            # The count of steps stays on the host, as the optimiser has it.
            training.optimiser.state[weight] = {
                n: t if n == "step" else t.to(training.device) for n, t in own.items()
            }
    if account.scaling:
        training.scaler.load_state_dict(account.scaling)
    return True


def _tensors(training: Training) -> dict[str, Tensor]:
    found = {_NOW + name: weight for name, weight in training.moved().items()}
    found |= {_BEST + name: weight for name, weight in training.best.items()}
    for name, weight in training.moved().items():
        for kept, value in training.optimiser.state.get(weight, {}).items():
            found[f"{_MOMENTS}{name}/{kept}"] = value
    return found
