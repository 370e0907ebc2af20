"""Starting ranks on this machine, and ending them all when one of them dies.

Ranks put what they compute into the cache themselves; only progress, counts and errors come back.
Each holds the other end of a pipe that nothing is written to: it closes when this process is gone,
however it ended, and so do they.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tape_bench.atomic import replace
from tape_bench.embedding.executors.executor import NOTHING, Computed, Executor, Hear, Job
from tape_bench.errors import PeerLostError, TapeBenchError, UsageError
from tape_bench.leftovers import temporary_folder
from tape_bench.results.provenance import usable_cores

if TYPE_CHECKING:
    from tape_bench.cache.precision import Stored
    from tape_bench.progress import Advance

_GRACE = 10.0
"""Seconds that the death of a rank may come to light after its partners have noticed."""

ASSIGNMENT, MEETING = "assignment", "meeting"
"""Files of the private folder that ranks are started with."""

Progress = tuple[int, int, str]
"""What is done, what there is in all, and how it goes."""

Told = int | Progress | Computed | TapeBenchError | str | None
"""Residues done; the progress of what ranks do together; the outcome; an error; the traceback of a
crash; None when a rank has ended."""


@dataclass(frozen=True)
class Assignment:
    """What every rank is told; which of its parts are its own follows from its number."""

    spec: str
    options: Mapping[str, Any]
    devices: Sequence[str | None]
    """Where each rank computes; None for a model that has no say."""
    tensor: int
    threads: int
    """Threads of a rank on a CPU."""


@dataclass(frozen=True)
class TogetherAssignment(Assignment):
    """What ranks are told that do something together; see `Executor.together`."""

    part: str
    payload: Any


@dataclass(frozen=True)
class ShareAssignment(Assignment):
    """What ranks are told that each compute a share of sequences."""

    folder: Path
    """The model's folder in the cache."""
    hidden: int
    stored: Stored
    tokens_per_batch: int | None
    shares: Sequence[Any]
    """What each group of ranks computes, `[ranks / tensor]`."""


@dataclass
class LocalProcesses:
    """Ranks on this machine; an `Executor`."""

    spec: str
    options: Mapping[str, Any]
    parts: int
    """Groups of processes, each of which takes a share of the work."""
    tensor: int
    """Processes of a group, which compute one network together."""
    devices: Sequence[str | None]
    """Where each process computes, `[parts * tensor]`; None for a model that has no say."""
    leads = True

    def run(self, job: Job, progress: Advance | None = None) -> Computed:
        """Compute the shares, one a group of ranks; see `Executor`.

        Raises:
            TapeBenchError: what a rank raised, or PeerLostError where one died.
            StorageError: there is no room for telling ranks what to do.
        """
        # A group without work is not started.
        busy = [missing for missing in job.shares if missing]
        assignment = ShareAssignment(
            spec=self.spec,
            options=self.options,
            devices=self.devices[: len(busy) * self.tensor],
            tensor=self.tensor,
            threads=self._threads,
            folder=job.cache.folder,
            hidden=job.cache.hidden,
            stored=job.cache.stored,
            tokens_per_batch=job.tokens_per_batch,
            shares=busy,
        )
        total = sum(len(entry.sequence) for missing in busy for entry in missing)
        with _Supervised(assignment) as ranks:
            for told in ranks.progress():
                if progress is not None and isinstance(told, int):
                    progress(told, total)
            return reduce(Computed.beside, ranks.computed, NOTHING)

    def together(self, part: str, payload: Any, hear: Hear) -> None:
        """Start ranks that do it; see `Executor`."""
        if self.tensor > 1:
            raise UsageError(
                "processes that share one network cannot do this together",
                fix="leave --tensor-parallel out",
            )
        assignment = TogetherAssignment(
            self.spec, self.options, self.devices, 1, self._threads, part, payload
        )
        with _Supervised(assignment) as ranks:
            for told in ranks.progress():
                if isinstance(told, tuple):
                    hear(*told)

    def meet(self, computed: Computed) -> tuple[Executor, Computed]:
        """Go on: the ranks have ended with the job."""
        return self, computed

    @property
    def _threads(self) -> int:
        given = os.environ.get("OMP_NUM_THREADS", "")
        asked = int(given) if given.isdecimal() else 0
        return asked or max(1, usable_cores() // len(self.devices))


class _Supervised:
    """Running ranks."""

    def __init__(self, assignment: Assignment) -> None:
        self.computed: list[Computed] = []
        size = len(assignment.devices)
        self._tensor = assignment.tensor
        self._done = [0] * size
        self._heard: set[int] = set()
        self._messages: queue.Queue[tuple[int, Told]] = queue.Queue()
        # Private: what is in it is unpickled, and where ranks find each other.
        self._folder = ExitStack()
        folder = self._folder.enter_context(temporary_folder())
        written = pickle.dumps(assignment)
        replace(folder / ASSIGNMENT, lambda path: path.write_bytes(written))
        self._ranks = [_start(folder, rank) for rank in range(size)]
        for rank in range(size):
            threading.Thread(target=self._listen, args=(rank,), daemon=True).start()

    def __enter__(self) -> _Supervised:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._ranks:
            process.kill()
        for process in self._ranks:
            process.wait()
        self._folder.close()

    def progress(self) -> Iterator[int | Progress]:
        """Yield the residues done by all, or how the first says it goes, until all have ended.

        Raises:
            TapeBenchError: the first thing that went wrong in any of them.
        """
        running, lost = len(self._ranks), None
        while running:
            try:
                rank, told = self._messages.get(timeout=_GRACE if lost else None)
            except queue.Empty:
                break
            # The processes of a group do the same sequences.
            speaks_for_group = rank % self._tensor == 0
            match told:
                case None:
                    running -= 1
                    self._check_end(rank)
                case int():
                    self._done[rank] = told
                    yield sum(self._done[:: self._tensor])
                case tuple():
                    if rank == 0:
                        yield told
                case Computed():
                    self.computed += [told] if speaks_for_group else []
                case str():
                    raise PeerLostError(
                        f"{self._name(rank)} crashed:\n{told}",
                        fix="what was computed is kept: run again to go on",
                    )
                case PeerLostError():
                    # Whoever was lost will be heard of, too, and is the one to name.
                    self._heard.add(rank)
                    lost = told
                case TapeBenchError():
                    where = ", ".join(filter(None, [self._name(rank), told.where]))
                    raise type(told)(told.what, where=where, fix=told.fix)
        if lost is not None:
            raise lost

    def _name(self, rank: int) -> str:
        return f"worker {rank + 1} of {len(self._ranks)}"

    def _listen(self, rank: int) -> None:
        process = self._ranks[rank]
        assert process.stdout is not None
        # Death may have cut the last message short.
        with contextlib.suppress(EOFError, pickle.UnpicklingError):
            while True:
                self._messages.put((rank, pickle.load(process.stdout)))
        process.wait()
        self._messages.put((rank, None))

    def _check_end(self, rank: int) -> None:
        code = self._ranks[rank].returncode
        # A rank that has told of its error has been heard.
        if code and rank not in self._heard:
            how = f"with exit code {code}" if code > 0 else f"by {signal.Signals(-code).name}"
            raise PeerLostError(
                f"{self._name(rank)} ended {how} without a word",
                fix="if it was killed for want of memory, use fewer devices or fewer tokens per "
                "batch; what was computed is kept: run again to go on",
            )


def _start(folder: Path, rank: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tape_bench.embedding.executors.rank", str(folder), str(rank)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
