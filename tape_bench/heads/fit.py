"""The one loop that trains every head: AdamW, early stopping, the best weights kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tape_bench.errors import ModelError
from tape_bench.heads.batches import Batch, Batches
from tape_bench.heads.catalogue import FitConfig

Loss = Callable[[Tensor, Tensor], tuple[Tensor, int]]
"""Scores and targets -> the loss summed over items, and the number of items."""

Epochs = Callable[[int, float, float], None]
"""Called after each epoch with its number, its training loss and its validation loss."""


@dataclass(frozen=True)
class Fit:
    """What training came to; the head holds the weights of the selected epoch."""

    epoch: int
    """The selected epoch, counted from 1: the one with the lowest validation loss."""
    valid_loss: float
    history: tuple[tuple[float, float], ...]
    """Training and validation loss of every epoch, `[epochs]`."""


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Make torch's random numbers follow from the seed inside, and be as they were after."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def fit(
    head: nn.Module,
    train: Batches,
    valid: Batches,
    loss: Loss,
    config: FitConfig,
    seed: int,
    progress: Epochs | None = None,
) -> Fit:
    """Train a head on one split and stop by another.

    The same seed gives the same weights, bit for bit, on the same machine and thread count.

    Raises:
        ModelError: a loss that is not finite.
    """
    shuffler = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(
        head.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    best_weights, best_epoch, best_loss = head.state_dict(), 0, math.inf
    to_beat, waited = math.inf, 0
    history: list[tuple[float, float]] = []
    for epoch in range(1, config.max_epochs + 1):
        train_loss = _train_epoch(head, train.shuffled(shuffler), loss, optimiser)
        valid_loss = mean_loss(head, valid, loss)
        history.append((train_loss, valid_loss))
        if not (math.isfinite(train_loss) and math.isfinite(valid_loss)):
            raise ModelError(
                f"training became unstable: in epoch {epoch} the training loss is {train_loss} "
                f"and the validation loss {valid_loss}",
                fix="look at the representations for extreme values; in half precision, "
                "try float32",
            )
        if progress is not None:
            progress(epoch, train_loss, valid_loss)
        if valid_loss < best_loss:
            best_weights = copy.deepcopy(head.state_dict())
            best_epoch, best_loss = epoch, valid_loss
        if valid_loss < to_beat:
            to_beat, waited = valid_loss * (1 - config.gain), 0
            continue
        waited += 1
        if waited == config.patience:
            break
        for group in optimiser.param_groups:
            group["lr"] *= config.decay
    head.load_state_dict(best_weights)
    return Fit(best_epoch, best_loss, tuple(history))


def _train_epoch(
    head: nn.Module, batches: Iterator[Batch], loss: Loss, optimiser: torch.optim.Optimizer
) -> float:
    head.train()
    total, items = 0.0, 0
    device = device_of(head)
    for batch in (one.to(device) for one in batches):
        optimiser.zero_grad()
        summed, count = loss(head(*batch.inputs), batch.targets)
        if count:
            (summed / count).backward()
            optimiser.step()
            total, items = total + summed.item(), items + count
    return total / items if items else math.nan


@torch.no_grad()
def mean_loss(head: nn.Module, batches: Batches, loss: Loss) -> float:
    """Return the mean loss over all items, in evaluation mode."""
    head.eval()
    total, items = 0.0, 0
    device = device_of(head)
    for batch in (one.to(device) for one in batches.in_order()):
        summed, count = loss(head(*batch.inputs), batch.targets)
        total, items = total + summed.item(), items + count
    return total / items if items else math.nan


def device_of(head: nn.Module) -> torch.device:
    """Return where a head's weights lie, and its batches must."""
    return next(head.parameters()).device
