"""Which of the processes of a run this one is, where a launcher such as torchrun started it."""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import distributed

from tape_bench.errors import ModelError, PeerLostError, UsageError
from tape_bench.models.proteinlm.tensor_parallel import ALONE, TensorParallel

Anything = TypeVar("Anything")

PATIENCE = timedelta(hours=24)
"""How long a process waits for the others: they may have more to compute."""


@dataclass
class World:
    """The place of a process among all: `size / tensor` groups of `tensor` processes each.

    The processes of a group compute one network together; the groups share the sequences.
    """

    rank: int
    size: int
    local_rank: int
    """Its number among those that see the same GPUs, which is the number of its own."""
    local_size: int
    """How many they are: all of a machine, unless Slurm shows each a GPU of its own."""
    tensor: int = 1
    group: distributed.ProcessGroup | None = None
    """Its group, once the processes have met."""
    waiting: distributed.ProcessGroup | None = None
    """All processes, to wait for each other."""

    @classmethod
    def of(cls, environment: Mapping[str, str], tensor: int = 1) -> World | None:
        """Read what torchrun or Slurm says; None where neither started more than one process.

        Raises:
            UsageError: the processes cannot be grouped so.
        """
        found = _torchrun(environment) or _slurm(environment)
        if found is None or found[1] == 1:
            return None
        rank, size, local_rank, local_size = found
        if size % tensor:
            raise UsageError(
                f"{size} processes cannot be grouped by {tensor} for tensor parallelism",
                fix=f"start a multiple of {tensor} processes",
            )
        return cls(rank, size, local_rank, local_size, tensor)

    @property
    def data_rank(self) -> int:
        """Number of this process's group."""
        return self.rank // self.tensor

    @property
    def data_size(self) -> int:
        """Number of groups."""
        return self.size // self.tensor

    @property
    def writes(self) -> bool:
        """True for the one process of a group that keeps what the group computes."""
        return self.rank % self.tensor == 0

    def join(self, device: str) -> TensorParallel:
        """Meet the others, and take this process's place in its tensor-parallel group.

        Raises:
            ModelError: this torch has no distributed package, or the others do not come.
        """
        if not distributed.is_available():
            raise ModelError(
                "this build of torch cannot connect processes",
                fix="install a build of torch with torch.distributed",
            )
        # Sums go over what the device has; what processes tell each other needs no GPU.
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        _name_master(os.environ)
        try:
            distributed.init_process_group(
                backend, rank=self.rank, world_size=self.size, timeout=PATIENCE
            )
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"the {self.size} processes of this run did not find each other: {error}",
                where=f"MASTER_ADDR={os.environ.get('MASTER_ADDR')}, "
                f"MASTER_PORT={os.environ.get('MASTER_PORT')}",
                fix="see that all of them were started, and that this address can be reached",
            ) from error
        # Only gloo can tell which process does not come.
        self.waiting = distributed.new_group(backend="gloo", timeout=PATIENCE)
        # Without it, a process whose partner has died aborts at its end instead of exiting.
        atexit.register(distributed.destroy_process_group)
        if self.tensor == 1:
            return ALONE
        # Every process must take part in making every group.
        groups = [
            distributed.new_group(list(range(first, first + self.tensor)), timeout=PATIENCE)
            for first in range(0, self.size, self.tensor)
        ]
        self.group = groups[self.data_rank]
        return TensorParallel.of(self.group)

    def agree(self, what: Anything) -> Anything:
        """Return what the first process of the group says."""
        if self.group is None:
            return what
        said = [what]
        first = self.rank - self.rank % self.tensor
        distributed.broadcast_object_list(said, first, self.group, torch.device("cpu"))
        return said[0]

    def wait(self) -> None:
        """Wait until all processes have come so far.

        Raises:
            PeerLostError: one of them has died.
        """
        try:
            distributed.monitored_barrier(self.waiting, timeout=PATIENCE)
        except RuntimeError as error:
            raise PeerLostError(
                f"a process of this run has died: {str(error).splitlines()[0]}",
                fix="its own message says why; what was computed is kept: run again to go on",
            ) from error


def _torchrun(environment: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return _numbers(environment, names) if "WORLD_SIZE" in environment else None


def _name_master(environment: MutableMapping[str, str]) -> None:
    """Say where processes that Slurm started meet, unless it is said: on the first node."""
    if "MASTER_ADDR" in environment and "MASTER_PORT" in environment:
        return
    nodes = environment.get("SLURM_STEP_NODELIST", "localhost")
    # `node[07-09,12],other` begins with node07.
    first = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", nodes)
    environment.setdefault("MASTER_ADDR", "".join(filter(None, first.groups())) if first else nodes)
    job = int(environment.get("SLURM_JOB_ID", "0"))
    environment.setdefault("MASTER_PORT", str(20000 + job % 20000))


def _slurm(environment: Mapping[str, str]) -> tuple[int, int, int, int] | None:
    # Only srun sets this: a batch script by itself is one process, whatever it was allotted.
    if "SLURM_STEP_NUM_TASKS" not in environment:
        return None
    per_node = environment.get("SLURM_STEP_TASKS_PER_NODE", "1")
    shown = {"LOCAL_SIZE": re.split(r"\D", per_node)[0], **environment}
    # `srun --gpus-per-task=1` hides the others' GPUs from a process.
    if environment.get("SLURM_GPUS_PER_TASK") == "1":
        shown |= {"LOCAL_SIZE": "1", "SLURM_LOCALID": "0"}
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "LOCAL_SIZE")
    return _numbers(shown, names)


def _numbers(environment: Mapping[str, str], names: tuple[str, ...]) -> tuple[int, int, int, int]:
    try:
        a, b, c, d = (int(environment[name]) for name in names)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"the launcher's variables make no sense: {error}",
            where=", ".join(f"{name}={environment.get(name, '')}" for name in names),
            fix="start with torchrun or srun, or unset them",
        ) from error
    return a, b, c, d
