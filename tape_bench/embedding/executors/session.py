"""A model, and who computes it: this process, ranks it starts, or those a launcher has started.

What needs torch is imported where it is used: a run that is complete already does without.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tape_bench import registry
from tape_bench.embedding.executors.executor import Executor, Serial
from tape_bench.embedding.executors.local import LocalProcesses
from tape_bench.errors import UsageError
from tape_bench.models import load_model
from tape_bench.models import options as family_options
from tape_bench.models.embedder import Embedder, Identity
from tape_bench.models.evidence import with_evidence
from tape_bench.models.user_code import check_embedder
from tape_bench.parallel import telling
from tape_bench.parallel.launchers import LAUNCHED

if TYPE_CHECKING:
    from tape_bench.parallel.processes import World


@dataclass(frozen=True)
class Session:
    """A model, and who computes it."""

    model: Embedder
    executor: Executor

    @classmethod
    def of(cls, model: Embedder) -> Session:
        """Have this process compute a model."""
        return cls(model, Serial(model))

    @cached_property
    def identity(self) -> Identity:
        """Who the model is, and for a user's model what it is seen to rest on, looked at once."""
        return with_evidence(self.model)


def assemble(
    model: str | Embedder, options: Mapping[str, Any], devices: int = 1, tensor_parallel: int = 1
) -> Session:
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
        if given := [name for name, value in options.items() if value is not None]:
            raise UsageError(
                f"a model that is loaded already takes no {', '.join(given)}",
                fix="give the options to what loads it, or name the model by its spec",
            )
        return Session.of(check_embedder(model, type(model).__name__))
    launched = any(name in os.environ for name in LAUNCHED)
    if launched:
        # What we tell of another process's end in a line, torch tells in fifty.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")
    loader, _ = registry.model_loader(model)
    if tensor_parallel > 1:
        family_options.checked(model, loader, {"tensor_parallel": tensor_parallel})
    if launched:
        from tape_bench.parallel.processes import World

        world = World.of(os.environ, tensor_parallel)
        if world is not None:
            return _launched(model, options, world, devices)
    processes = devices * tensor_parallel
    if processes == 1:
        return Session.of(load_model(model, **options))
    places = [_place(loader, options, rank, processes) for rank in range(processes)]
    executor = LocalProcesses(model, dict(options), devices, tensor_parallel, places)
    return Session(load_model(model, **options), executor)


def _launched(spec: str, options: Mapping[str, Any], world: World, devices: int) -> Session:
    from tape_bench.embedding.executors.ranks import Ranks

    if devices > 1:
        raise UsageError(
            f"torchrun or srun has started {world.size} processes already",
            fix="leave --devices out",
        )
    # From here on a fault may be one process's own, and all can tell whether it is.
    world.meet()
    telling.share(world)
    loader, _ = registry.model_loader(spec)
    place = _place(loader, options, world.place.local_rank, world.place.local_size)
    part = world.connect(place or "cpu")
    given = {**options, **({"device": place} if place else {})}
    if world.tensor > 1:
        given["tensor_parallel"] = part
    model = load_model(spec, **given)
    return Session(model, Ranks(model, world))


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
