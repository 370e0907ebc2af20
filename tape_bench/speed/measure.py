"""How fast a model represents proteins on this machine, and how near that is to what it can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tape_bench.embedding.forward import PADDED_TOKENS, Launched
from tape_bench.embedding.in_memory import represent
from tape_bench.models.embedder import Described, Embedder, Network, PackedEmbedder
from tape_bench.models.placement import dtype_named
from tape_bench.progress import Advance
from tape_bench.speed.flops import useful_flops
from tape_bench.speed.machine import MatmulRate

FIRST = 8
"""Proteins of the first round."""

MOST = 65_536
"""Proteins of the last round, however fast the model is."""


Draw = Callable[[int], Sequence[str]]
"""Gives so many proteins."""


@dataclass(frozen=True)
class Speed:
    """What embedding proteins took. Of a model that says less of itself, less is known."""

    proteins: int
    residues: int
    seconds: float
    launches: int | None = None
    launched_tokens: int | None = None
    """Tokens that went through the network, padding included."""
    padding: float | None = None
    """Share of the launched tokens that belong to no protein."""
    useful_flops_per_second: float | None = None
    """Operations a second on residues; see `flops`."""
    matmul_flops_per_second: float | None = None
    """Operations a second of plain matrix products in the model's precision, in the same run."""
    gpu_bytes: int | None = None
    """Most memory that tensors took on the GPU."""

    @property
    def residues_per_second(self) -> float:
        """What a user plans with."""
        return self.residues / self.seconds

    @property
    def share_of_matmul(self) -> float | None:
        """Useful operations, as a share of what plain matrix products would have done."""
        if self.useful_flops_per_second is None or self.matmul_flops_per_second is None:
            return None
        return self.useful_flops_per_second / self.matmul_flops_per_second

    def as_dict(self) -> dict[str, float | None]:
        """Return everything, the derived scores too."""
        derived = ("residues_per_second", "share_of_matmul")
        return asdict(self) | {name: getattr(self, name) for name in derived}


def measure(
    model: Embedder,
    sequences: Sequence[str],
    progress: Advance | None = None,
) -> Speed:
    """Embed proteins, one vector each, and take the time.

    Args:
        model: any Embedder; operations are known of one that is `Described`, and tokens of a
            `PackedEmbedder`.
        sequences: proteins; repeats are embedded once.
        progress: called after every batch.
    """
    sequences = list(dict.fromkeys(sequences))
    lengths = [len(sequence) for sequence in sequences]
    residues = sum(lengths)
    if not isinstance(model, Described):
        seconds, launched = _embed(model, sequences, progress)
        return Speed(len(sequences), residues, seconds, **_padding(model, lengths, launched))
    network = model.describe()
    on_gpu = network.device.startswith("cuda")
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(network.device)
    ceiling = matmul_rate(model, network)

    def between(done: int, total: int) -> None:
        ceiling.take()
        if progress is not None:
            progress(done, total)

    taken, launched = _embed(model, sequences, between)
    seconds = taken - ceiling.seconds
    return Speed(
        proteins=len(sequences),
        residues=residues,
        seconds=seconds,
        **_padding(model, lengths, launched),
        useful_flops_per_second=useful_flops(network, lengths) / seconds,
        matmul_flops_per_second=ceiling.flops_per_second,
        gpu_bytes=torch.cuda.max_memory_allocated(network.device) if on_gpu else None,
    )


def matmul_rate(model: Embedder, network: Network, dtype: torch.dtype | None = None) -> MatmulRate:
    """Prepare timing products as large as a launch's, in the network's precision or another."""
    tokens = model.tokens_per_launch() if isinstance(model, PackedEmbedder) else PADDED_TOKENS
    multiplies = dtype or dtype_named(network.dtype)
    return MatmulRate(
        tokens, network.hidden, network.inner, multiplies, torch.device(network.device)
    )


def warm_up(model: Embedder, draw: Draw) -> None:
    """Embed a few proteins: what happens once, such as compiling kernels, should not count."""
    _embed(model, draw(FIRST))


def enough_for(seconds: float, model: Embedder, draw: Draw) -> int:
    """Return how many proteins keep a model, warmed up, busy for so long."""
    count = FIRST
    while (taken := _embed(model, draw(count))[0]) < seconds / 4 and count < MOST:
        count *= 2
    return min(max(round(count * seconds / taken), FIRST), MOST)


def _embed(
    model: Embedder, sequences: Sequence[str], progress: Advance | None = None
) -> tuple[float, Launched]:
    """Return the seconds it took, and what the model was given."""
    started = time.perf_counter()
    with represent(model, sequences, "mean", progress=progress) as found:
        return time.perf_counter() - started, found.launched


def _padding(model: Embedder, lengths: Sequence[int], launched: Launched) -> dict[str, Any]:
    if not isinstance(model, PackedEmbedder):
        return {}
    used = sum(lengths) + model.special_tokens * len(lengths)
    return {
        "launches": launched.launches,
        "launched_tokens": launched.tokens,
        "padding": 1 - used / launched.tokens,
    }
