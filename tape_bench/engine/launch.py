"""Starting worker processes that share the work, and ending them all when one of them dies.

Workers put what they compute into the cache themselves; only progress and errors come back.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tape_bench import errors
from tape_bench.engine.job import Job
from tape_bench.errors import ModelError, PeerLostError, TapeBenchError
from tape_bench.models.embedder import Embedder

if TYPE_CHECKING:
    from tape_bench.engine.cache import Cache
    from tape_bench.engine.compute import Progress, Wanted

_GRACE = 10.0
"""Seconds that the death of a worker may come to light after its partners have noticed."""

Message = tuple[int, dict[str, Any] | None]
"""A worker's number and what it tells; None when it has ended."""


@dataclass
class Workers:
    """Processes on this machine; a `Computer`."""

    spec: str
    options: Mapping[str, Any]
    parts: int
    """Groups of processes, each of which takes a share of the work."""
    tensor: int
    """Processes of a group, which compute one network together."""
    devices: Sequence[str | None]
    """Where each process computes, `[parts * tensor]`; None for a model that has no say."""

    def __call__(
        self,
        model: Embedder,
        shares: Sequence[Wanted],
        cache: Cache,
        tokens_per_batch: int | None,
        progress: Progress | None,
    ) -> int:
        """Compute the shares, one a group of processes; see `Computer`.

        Raises:
            TapeBenchError: what a worker raised, or PeerLostError where one died.
        """
        # A group without work is not started.
        busy = [wanted for wanted in shares if wanted]
        wanted_by_process = [wanted for wanted in busy for _ in range(self.tensor)]
        jobs = [
            Job(
                spec=self.spec,
                options={**self.options, **({"device": device} if device else {})},
                tensor=self.tensor,
                threads=self._threads,
                folder=str(cache.folder),
                hidden=cache.hidden,
                stored=cache.stored,
                tokens_per_batch=tokens_per_batch,
                wanted=[(r.sequence, r.window, sorted(pools)) for r, pools in wanted.items()],
            )
            for device, wanted in zip(self.devices, wanted_by_process, strict=False)
        ]
        total = sum(len(reading.sequence) for wanted in busy for reading in wanted)
        with _Crowd(jobs, self.tensor) as crowd:
            for done in crowd.progress():
                if progress is not None:
                    progress(done, total)
            return crowd.recomputed

    @property
    def _threads(self) -> int:
        given = os.environ.get("OMP_NUM_THREADS", "")
        asked = int(given) if given.isdecimal() else 0
        return asked or max(1, cores() // len(self.devices))


def cores() -> int:
    """Return the processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Crowd:
    """Running workers."""

    def __init__(self, jobs: Sequence[Job], tensor: int) -> None:
        self.recomputed = 0
        self._tensor = tensor
        self._done = [0] * len(jobs)
        self._heard: set[int] = set()
        self._messages: queue.Queue[Message] = queue.Queue()
        port = _free_port()
        self._workers = [_start(rank, len(jobs), port) for rank in range(len(jobs))]
        for rank, job in enumerate(jobs):
            threading.Thread(target=self._listen, args=(rank, job), daemon=True).start()

    def __enter__(self) -> _Crowd:
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.wait()

    def progress(self) -> Iterator[int]:
        """Yield the residues done by all, until every worker has ended.

        Raises:
            TapeBenchError: the first thing that went wrong in any of them.
        """
        running, lost = len(self._workers), None
        while running:
            try:
                rank, told = self._messages.get(timeout=_GRACE if lost else None)
            except queue.Empty:
                break
            if told is None:
                running -= 1
                self._check_end(rank)
            elif "done" in told:
                self._done[rank] = told["done"]
                # The processes of a group do the same sequences.
                yield sum(self._done[:: self._tensor])
            elif "recomputed" in told:
                self.recomputed += told["recomputed"] if rank % self._tensor == 0 else 0
            else:
                error = self._error(rank, told)
                if "crash" in told or not isinstance(error, PeerLostError):
                    raise error
                # Whoever was lost will be heard of, too, and is the one to name.
                lost = error
        if lost is not None:
            raise lost

    def _listen(self, rank: int, job: Job) -> None:
        worker = self._workers[rank]
        assert worker.stdin is not None
        assert worker.stdout is not None
        # A worker that dies before it has read its job is told of by its end.
        with contextlib.suppress(BrokenPipeError), worker.stdin as job_file:
            job_file.write(job.to_json())
        for line in worker.stdout:
            # Death may have cut the last line short.
            with contextlib.suppress(ValueError):
                self._messages.put((rank, json.loads(line)))
        worker.wait()
        self._messages.put((rank, None))

    def _check_end(self, rank: int) -> None:
        code = self._workers[rank].returncode
        # A worker that has told of its error has been heard.
        if code and rank not in self._heard:
            how = f"with exit code {code}" if code > 0 else f"by {signal.Signals(-code).name}"
            raise PeerLostError(
                f"worker {rank + 1} of {len(self._workers)} ended {how} without a word",
                fix="if it was killed for want of memory, use fewer devices or fewer tokens per "
                "batch; what was computed is kept: run again to go on",
            )

    def _error(self, rank: int, told: dict[str, Any]) -> TapeBenchError:
        self._heard.add(rank)
        who = f"worker {rank + 1} of {len(self._workers)}"
        if "crash" in told:
            return PeerLostError(
                f"{who} crashed:\n{told['crash']}",
                fix="what was computed is kept: run again to go on",
            )
        kind, what, where, fix = told["error"]
        made: TapeBenchError = getattr(errors, kind, ModelError)(
            what, where=", ".join(filter(None, [who, where])), fix=fix
        )
        return made


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start(rank: int, size: int, port: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tape_bench.engine.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
