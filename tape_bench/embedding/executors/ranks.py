"""One of the processes that torchrun, Slurm or `LocalProcesses` has started."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import reduce
from typing import Any

from tape_bench import registry
from tape_bench.embedding.executors.executor import Computed, Executor, Hear, Job, Serial
from tape_bench.embedding.fill import Missing, compute
from tape_bench.embedding.forward import Entry
from tape_bench.models.embedder import Embedder
from tape_bench.parallel.processes import World
from tape_bench.parallel.team import Team
from tape_bench.progress import Advance


class Ranks:
    """All of these processes, seen from one of them; an `Executor`."""

    def __init__(self, model: Embedder, world: World) -> None:
        """Take this process's place among them."""
        self.parts = world.data_size
        self.leads = world.rank == 0
        self._model = model
        self._world = world

    def run(self, job: Job, progress: Advance | None = None) -> Computed:
        """Compute this process's share, and nothing of the others'."""
        # What the cache lacks may look different to two processes; partners must do the same.
        mine = _from_text(self._world.agree(_to_text(job.shares[self._world.data_rank])))
        return compute(
            self._model,
            mine,
            job.cache,
            job.tokens_per_batch,
            progress,
            writes=self._world.writes,
        )

    def together(self, part: str, payload: Any, hear: Hear) -> None:
        """Do this process's part of it; see `Executor`."""
        registry.resolve(part)(self._model, payload, Team.of_all(), hear)

    def meet(self, computed: Computed) -> tuple[Executor, Computed] | None:
        """Wait for all; the first goes on alone, and knows what all computed."""
        told = self._world.collect(json.dumps(asdict(computed)))
        if told is None:
            return None
        # The processes of a group do the same sequences.
        parts = [Computed(**json.loads(part)) for part in told[:: self._world.tensor]]
        return Serial(self._model), reduce(Computed.beside, parts)


def _to_text(missing: Missing) -> str:
    """Write what is to be computed as JSON: what comes from another process is not unpickled."""
    return json.dumps([[*entry, sorted(pools)] for entry, pools in missing.items()])


def _from_text(told: str) -> Missing:
    return {
        Entry(sequence, window): frozenset(pools) for sequence, window, pools in json.loads(told)
    }
