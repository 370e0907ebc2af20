"""The processes that torchrun or Slurm has started, each of which computes its share."""

from __future__ import annotations

from collections.abc import Sequence

from tape_bench.engine.cache import Cache
from tape_bench.engine.compute import Progress, Wanted, compute
from tape_bench.engine.world import World
from tape_bench.models.embedder import Embedder


class Ranks:
    """All of these processes, seen from one of them; a `Computer`."""

    def __init__(self, world: World) -> None:
        """Take this process's place among them."""
        self.parts = world.data_size
        self._world = world

    def __call__(
        self,
        model: Embedder,
        shares: Sequence[Wanted],
        cache: Cache,
        tokens_per_batch: int | None,
        progress: Progress | None,
    ) -> int:
        """Compute this process's share, and nothing of the others'."""
        # What the cache lacks may look different to two processes; partners must do the same.
        mine = self._world.agree(shares[self._world.data_rank])
        writes = self._world.writes
        return compute(model, mine, cache, tokens_per_batch, progress, writes=writes)
