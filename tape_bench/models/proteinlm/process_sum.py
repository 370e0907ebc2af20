"""Sums over processes: through memory that they share where that is possible, else as torch does.

Gloo sends tensors through sockets even within a machine, and a sum of 8 MB takes it several times
as long as writing that down and reading it. Through memory, every process writes its part to a
place of its own, all wait for each other, and each adds all parts up by itself, in the same order
and so to the same bits.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
from pathlib import Path

import torch
from torch import Tensor, distributed

WORTHWHILE = 1 << 16
"""Bytes from which a sum goes through memory; waiting takes as long as sending a few."""


class ProcessSum:
    """Sums tensors over the processes of a group, all of which must bring the same shapes."""

    def __init__(self, group: distributed.ProcessGroup | None = None) -> None:
        """Prepare for a group; None for all processes there are."""
        self.group = group
        self._rank = distributed.get_rank(group)
        self._size = distributed.get_world_size(group)
        self._memory: Tensor | None = None
        self._turn = 0
        # Until the first sum shows otherwise.
        self._on_one_machine = True

    def __call__(self, part: Tensor) -> Tensor:
        """Return the sum over all processes; may overwrite its argument.

        Raises:
            RuntimeError: another process is gone.
        """
        wanted = part.numel() * part.element_size()
        if part.device.type != "cpu" or wanted < WORTHWHILE or not self._shared(wanted):
            distributed.all_reduce(part, group=self.group)
            return part
        # The other half may still be read: who writes to this one has waited for a sum since.
        self._turn = 1 - self._turn
        assert self._memory is not None
        places = self._memory[self._turn, :, :wanted].view(part.dtype)
        places[self._rank].copy_(part.reshape(-1))
        self._wait()
        total = places[0] + places[1]
        for other in places[2:]:
            total += other
        return total.view(part.shape)

    def _shared(self, wanted: int) -> bool:
        """See that there is shared memory for parts of so many bytes; all come to one answer."""
        if self._on_one_machine and (self._memory is None or self._memory.shape[-1] < wanted):
            self._memory = self._share(-(-wanted // mmap.PAGESIZE) * mmap.PAGESIZE)
            self._on_one_machine = self._memory is not None
        return self._on_one_machine

    def _share(self, room: int) -> Tensor | None:
        """Map the same memory `[2, processes, room]` in all processes; None if one cannot."""
        shape = (2, self._size, room)
        descriptor, where = -1, torch.zeros(3, dtype=torch.int64)
        if self._rank == 0:
            with contextlib.suppress(OSError, AttributeError):  # Only Linux has it.
                name = secrets.randbits(62)
                # It has no place in the file system: it is gone when the last process ends.
                descriptor = os.memfd_create(_name(name))
                os.truncate(descriptor, 2 * self._size * room)
                where = torch.tensor([os.getpid(), descriptor, name])
        distributed.all_reduce(where, group=self.group)
        pid, number, name = where.tolist()
        try:
            mapped = _map(Path(f"/proc/{pid}/fd/{number}"), _name(name))
        except (OSError, ValueError):
            mapped = None
        managed = torch.tensor(0 if mapped is None else 1)
        distributed.all_reduce(managed, group=self.group)
        if descriptor >= 0:
            os.close(descriptor)
        if mapped is None or int(managed) < self._size:
            return None
        return torch.frombuffer(mapped, dtype=torch.uint8).view(shape)

    def _wait(self) -> None:
        distributed.all_reduce(torch.zeros(1), group=self.group)


def _name(name: int) -> str:
    return f"tape-bench-{name}"


def _map(path: Path, name: str) -> mmap.mmap:
    # On another machine, or in another container, the number may be that of anybody's file.
    if str(path.readlink()) != f"/memfd:{name} (deleted)":
        raise OSError(f"{path} is another file")
    descriptor = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
