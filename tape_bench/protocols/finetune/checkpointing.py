"""Activation checkpointing: what blocks made is not kept for the way back, but made again."""

from __future__ import annotations

from functools import partial

from torch.utils.checkpoint import checkpoint

from tape_bench.models.trainable import TrainableNetwork


def recompute_blocks(network: TrainableNetwork) -> None:
    """Have every block of a network computed again when its gradient is asked for."""
    for block in network.blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
