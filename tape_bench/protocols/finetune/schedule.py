"""How the learning rate goes, and in which order proteins come."""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from tape_bench.protocols.finetune.recipe import Recipe


def factor(recipe: Recipe, step: int, steps: int) -> float:
    """Return the factor on the learning rate at a step.

    Args:
        recipe: what says the warm-up and the schedule.
        step: from 0.
        steps: in all, if training does not end early.
    """
    warm = recipe.warmup if recipe.warmup >= 1 else math.ceil(recipe.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    if recipe.schedule == "constant":
        return 1.0
    left = max(0.0, (steps - step) / max(1.0, steps - warm))
    return left if recipe.schedule == "linear" else 0.5 * (1 - math.cos(math.pi * left))


def number(*parts: int | str) -> int:
    """Return a seed that follows from these, and that no other parts are likely to give."""
    told = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(told).digest()[:7], "big")


def shuffled(seed: int, epoch: int, proteins: int, batch: int) -> list[NDArray[np.int64]]:
    """Return the proteins of each step of an epoch: all of them once, in an order of its own."""
    order = np.random.default_rng(number(seed, "epoch", epoch)).permutation(proteins)
    return [order[start : start + batch] for start in range(0, proteins, batch)]
