"""The processes of a run, seen from one of them: which it is, and what it needs of the others."""

from __future__ import annotations

import atexit
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed

from tape_bench.errors import ModelError, PeerLostError, UsageError
from tape_bench.parallel import meeting
from tape_bench.parallel.launchers import Place, place_of
from tape_bench.parallel.launchers import name_master as _name_master
from tape_bench.parallel.tensor import ALONE, TensorParallel

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

PATIENCE = timedelta(hours=24)
"""How long a process waits for others that are there: they may have more to compute."""


@dataclass
class World:
    """The place of a process among all: `size / tensor` groups of `tensor` processes each.

    The processes of a group compute one network together; the groups share the sequences.
    """

    place: Place
    tensor: int = 1
    store: Store | None = None
    """What processes that have met tell each other goes through it."""
    group: distributed.ProcessGroup | None = None
    """Its group, once the processes are connected."""
    waiting: distributed.ProcessGroup | None = None
    """All processes, to wait for each other."""

    @classmethod
    def of(cls, environment: Mapping[str, str], tensor: int = 1) -> World | None:
        """Read what torchrun or Slurm says; None where neither started more than one process.

        Raises:
            UsageError: the processes cannot be grouped so.
        """
        place = place_of(environment)
        if place is None:
            return None
        if place.size % tensor:
            raise UsageError(
                f"{place.size} processes cannot be grouped by {tensor} for tensor parallelism",
                fix=f"start a multiple of {tensor} processes",
            )
        return cls(place, tensor)

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.place.rank

    @property
    def size(self) -> int:
        """Number of processes."""
        return self.place.size

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

    @property
    def holds_store(self) -> bool:
        """True where the store ends with this process."""
        return meeting.holds_store(self.place, os.environ)

    def meet(self) -> None:
        """Find the others where the launcher says.

        Raises:
            ModelError: this torch has no distributed package, or there is no place to meet.
            PeerLostError: one of the others does not come.
        """
        _check_torch()
        _name_master(os.environ)
        self.store = meeting.meet(self.place, os.environ)

    def connect(self, device: str) -> TensorParallel:
        """Connect to the others, and take this process's place in its tensor-parallel group.

        Raises:
            ModelError: the processes cannot reach each other.
        """
        _check_torch()
        # Sums go over what the device has; what processes tell each other needs no GPU.
        backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
        if self.place.one_machine:
            meeting.listen_to_this_machine_only()
        try:
            meeting.interruptibly(lambda: self._connect(backend))
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"the {self.size} processes of this run cannot reach each other: "
                f"{str(error).splitlines()[0]}",
                fix="name the network between the machines: GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME",
            ) from error
        return ALONE if self.group is None else TensorParallel.of(self.group)

    def _connect(self, backend: str) -> None:
        distributed.init_process_group(
            backend, store=self.store, rank=self.rank, world_size=self.size, timeout=meeting.LIMIT
        )
        # Without it, a process whose partner has died aborts at its end instead of exiting.
        atexit.register(distributed.destroy_process_group)
        # Only gloo can tell which process does not come.
        self.waiting = distributed.new_group(backend="gloo", timeout=PATIENCE)
        if self.tensor == 1:
            return
        # Every process must take part in making every group.
        groups = [
            distributed.new_group(list(range(first, first + self.tensor)), timeout=PATIENCE)
            for first in range(0, self.size, self.tensor)
        ]
        self.group = groups[self.data_rank]

    def agree(self, what: str) -> str:
        """Return what the first process of the group says."""
        if self.group is None:
            return what
        first = self.rank - self.rank % self.tensor
        # As numbers: torch would pickle anything else, and whoever reads it would run it.
        said = torch.frombuffer(bytearray(what.encode() or b" "), dtype=torch.uint8)
        size = torch.tensor([len(said)])
        distributed.broadcast(size, first, self.group)
        if self.rank != first:
            said = torch.empty(int(size), dtype=torch.uint8)
        distributed.broadcast(said, first, self.group)
        return said.numpy().tobytes().decode()

    def collect(self, what: str) -> list[str] | None:
        """Wait until all processes have come so far; tell the first what each brings, `[size]`.

        Raises:
            PeerLostError: one of them has died.
        """
        assert self.store is not None
        store = self.store
        store.set(f"brought/{self.rank}", what)
        waiting = meeting.Waiting("", speaks=self.rank == 0)
        try:
            meeting.interruptibly(
                lambda: distributed.monitored_barrier(self.waiting, timeout=PATIENCE),
                lambda: waiting.say(lambda: meeting.who_lacks(store, "brought", self.place)),
            )
        except RuntimeError as error:
            # Only the first process can tell which it is.
            found = re.search(r"Rank (\d+) failed to pass", str(error))
            lost = f"process {found[1]} of {self.size} (counted from 0)" if found else "a process"
            raise PeerLostError(
                f"{lost} of this run has died",
                fix="its own message says why; what was computed is kept: run again to go on",
            ) from error
        if self.rank > 0:
            return None
        return [store.get(f"brought/{rank}").decode() for rank in range(self.size)]


def _check_torch() -> None:
    if not distributed.is_available():
        raise ModelError(
            "this build of torch cannot connect processes",
            fix="install a build of torch with torch.distributed",
        )
