"""What torchrun and Slurm tell each process they start: its number, and where all of them meet."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import NamedTuple

from tape_bench.errors import UsageError

LAUNCHED = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Variables by which torchrun and srun tell a process that there are others."""


class Place(NamedTuple):
    """The place of a process among those that a launcher has started."""

    rank: int
    size: int
    local_rank: int
    """Its number among those that see the same GPUs, which is the number of its own."""
    local_size: int
    """How many they are: all of a machine, unless Slurm shows each a GPU of its own."""
    one_machine: bool
    """True where no process is on another machine."""


def place_of(environment: Mapping[str, str]) -> Place | None:
    """Read what torchrun or Slurm says; None where neither started more than one process.

    Raises:
        UsageError: the variables make no sense.
    """
    found = _torchrun(environment) or _slurm(environment)
    return None if found is None or found.size == 1 else found


def leads(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell the one process that speaks for all from the others that a launcher has started."""
    if not any(name in environment for name in LAUNCHED):
        return True
    rank = environment.get("RANK" if "WORLD_SIZE" in environment else "SLURM_PROCID", "0")
    # Whoever has no number has a fault of its own to tell of.
    return not rank.isdecimal() or int(rank) == 0


def name_master(environment: MutableMapping[str, str]) -> None:
    """Say where processes that Slurm started meet, unless it is said: on the first node.

    Raises:
        UsageError: the list of nodes is none.
    """
    if "MASTER_ADDR" not in environment:
        nodes = environment.get("SLURM_STEP_NODELIST") or "localhost"
        environment["MASTER_ADDR"] = host_names(nodes)[0]
    if "MASTER_PORT" not in environment:
        # Two steps of a job may share their first node.
        job, step = (_number(environment, f"SLURM_{what}_ID") for what in ("JOB", "STEP"))
        environment["MASTER_PORT"] = str(20_000 + (37 * job + step) % 20_000)


def host_names(nodes: str) -> list[str]:
    """Write out a list of nodes as `scontrol show hostnames` does.

    Args:
        nodes: names and brackets with numbers and ranges: `r[1-2]c[3-4],gpu[007-010,12]-ib0`.

    Raises:
        UsageError: a bracket or a range is broken.
    """
    names: list[str] = []
    # Commas within brackets do not part names.
    for name in re.findall(r"(?:[^\[\],]|\[[^\[\]]*\])+|[\[\]]", nodes):
        parts = re.split(r"\[([^\[\]]*)\]", name)
        # Every second part was in brackets.
        choices = [
            list(_numbers_of(part, nodes)) if index % 2 else [part]
            for index, part in enumerate(parts)
        ]
        if "[" in (shown := "".join(parts[::2])) or "]" in shown:
            raise _no_list(nodes)
        names += map("".join, itertools.product(*choices))
    return names


def _numbers_of(ranges: str, nodes: str) -> Iterator[str]:
    """Yield the numbers of a bracket, as wide as they are written."""
    for part in ranges.split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not found:
            raise _no_list(nodes)
        first, last = found[1], found[2] or found[1]
        if int(last) < int(first):
            raise _no_list(nodes)
        for number in range(int(first), int(last) + 1):
            yield f"{number:0{len(first)}}"


def _no_list(nodes: str) -> UsageError:
    return UsageError(
        f"{nodes!r} is no list of nodes",
        where="SLURM_STEP_NODELIST",
        fix="set MASTER_ADDR to the first node's name",
    )


def _torchrun(environment: Mapping[str, str]) -> Place | None:
    if "WORLD_SIZE" not in environment:
        return None
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, size, local_rank, local_size = _numbers(environment, names)
    return Place(rank, size, local_rank, local_size, size == local_size)


def _slurm(environment: Mapping[str, str]) -> Place | None:
    # Only srun sets this: a batch script by itself is one process, whatever it was allotted.
    if "SLURM_STEP_NUM_TASKS" not in environment:
        return None
    shown = {"TASKS_HERE": _tasks_here(environment), **environment}
    names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "TASKS_HERE")
    rank, size, local_rank, local_size = _numbers(shown, names)
    one_machine = size == local_size
    # `srun --gpus-per-task=1` hides the others' GPUs from a process.
    if environment.get("SLURM_GPUS_PER_TASK") == "1":
        local_rank, local_size = 0, 1
    return Place(rank, size, local_rank, local_size, one_machine)


def _tasks_here(environment: Mapping[str, str]) -> str:
    """Read how many processes this node has: `4(x2),3` means four, four and three."""
    said = environment.get("SLURM_STEP_TASKS_PER_NODE", "1")
    counts = [
        count
        for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", said)
        for _ in range(int(times or 1))
    ]
    node = _number(environment, "SLURM_NODEID")
    return counts[node] if node < len(counts) else said


def _number(environment: Mapping[str, str], name: str) -> int:
    """Read a number that may be missing or empty, which counts as 0."""
    said = environment.get(name, "")
    return int(said) if said.isdecimal() else 0


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
