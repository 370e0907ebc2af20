"""Who computes: this process, workers it starts, or the processes a launcher has started.

What needs torch is imported where it is used: a run that is complete already does without.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from tape_bench import registry
from tape_bench.engine.launch import Workers
from tape_bench.errors import UsageError
from tape_bench.models import load_model
from tape_bench.models.embedder import Embedder, Identity
from tape_bench.models.evidence import with_evidence

if TYPE_CHECKING:
    from tape_bench.engine.cache import Cache
    from tape_bench.engine.compute import Progress, Wanted
    from tape_bench.engine.world import World


class Computer(Protocol):
    """Computes what is wanted into a cache: this process, or several that share the work."""

    @property
    def parts(self) -> int:
        """Shares that the work is to be divided into."""

    def __call__(
        self,
        model: Embedder,
        shares: Sequence[Wanted],
        cache: Cache,
        tokens_per_batch: int | None,
        progress: Progress | None,
    ) -> int:
        """Compute the shares, `[parts]`; return what `compute` returns."""


class Alone:
    """This process computes everything; a `Computer`."""

    parts = 1

    def __call__(
        self,
        model: Embedder,
        shares: Sequence[Wanted],
        cache: Cache,
        tokens_per_batch: int | None,
        progress: Progress | None,
    ) -> int:
        """Compute the one share."""
        from tape_bench.engine.compute import compute

        return compute(model, shares[0], cache, tokens_per_batch, progress)


LAUNCHED = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Variables by which torchrun and srun tell a process that there are others."""


@dataclass
class Crew:
    """A model, and the processes that compute it."""

    model: Embedder
    computer: Computer = field(default_factory=Alone)
    world: World | None = None

    @cached_property
    def identity(self) -> Identity:
        """Who the model is, and for a user's model what it is seen to rest on, looked at once."""
        return with_evidence(self.model)

    def meet(self) -> bool:
        """Wait for the processes a launcher has started; True for the one that goes on alone."""
        if self.world is None:
            return True
        self.world.wait()
        leads = self.world.rank == 0
        self.computer, self.world = Alone(), None
        return leads


def assemble(
    model: str | Embedder, options: Mapping[str, Any], devices: int = 1, tensor_parallel: int = 1
) -> Crew:
    """Load a model the way the user wants it computed.

    Under torchrun or srun each process takes its part of what there is to compute. Otherwise
    `devices` groups of `tensor_parallel` processes are started when there is something to compute.

    Args:
        model: a spec, or a model, which this process then computes alone.
        options: the model's options.
        devices: processes, or groups of them, that share the sequences.
        tensor_parallel: processes that compute one network together.

    Raises:
        UsageError: the machine or the model has no such thing.
        ModelError: the model cannot be loaded.
    """
    if not isinstance(model, str):
        if devices * tensor_parallel > 1:
            raise UsageError(
                "a model that is loaded already cannot be shared by several processes",
                fix="name it by its spec",
            )
        return Crew(model)
    loader, _ = registry.model_loader(model)
    if tensor_parallel > 1:
        registry.check_options(model, loader, {"tensor_parallel": tensor_parallel})
    if any(name in os.environ for name in LAUNCHED):
        from tape_bench.engine.world import World

        world = World.of(os.environ, tensor_parallel)
        if world is not None:
            return _launched(model, options, world, devices)
    processes = devices * tensor_parallel
    if processes == 1:
        return Crew(load_model(model, **options))
    places = [_place(loader, options, rank, processes) for rank in range(processes)]
    workers = Workers(model, dict(options), devices, tensor_parallel, places)
    return Crew(load_model(model, **options), workers)


def _launched(spec: str, options: Mapping[str, Any], world: World, devices: int) -> Crew:
    from tape_bench.engine.ranks import Ranks

    if devices > 1:
        raise UsageError(
            f"torchrun or srun has started {world.size} processes already",
            fix="leave --devices out",
        )
    loader, _ = registry.model_loader(spec)
    place = _place(loader, options, world.local_rank, world.local_size)
    part = world.join(place or "cpu")
    given = {**options, **({"device": place} if place else {})}
    if world.tensor > 1:
        given["tensor_parallel"] = part
    return Crew(load_model(spec, **given), Ranks(world), world)


def _place(
    loader: Callable[..., Any], options: Mapping[str, Any], rank: int, processes: int
) -> str | None:
    """Say where one process of this machine computes; None for a model that has no say in it."""
    if "device" not in inspect.signature(loader).parameters:
        return None
    import torch

    given = options.get("device")
    if given not in (None, "cpu", "cuda"):
        raise UsageError(
            f"{processes} processes cannot all compute on {given}",
            fix="leave --device out, or write 'cpu' or 'cuda'",
        )
    if given == "cpu" or not (given or torch.cuda.is_available()):
        return "cpu"
    there = torch.cuda.device_count()
    if processes > there:
        raise UsageError(
            f"{processes} processes need as many GPUs, and this machine has {there}",
            fix=f"use at most {there}, or --device cpu",
        )
    return f"cuda:{rank}"
