"""A model's speed on this machine, with what it is to be read beside, in one go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tape_bench import paths
from tape_bench.cache.precision import stored_as
from tape_bench.embedding.executors.session import Session
from tape_bench.errors import UsageError
from tape_bench.models.embedder import Described, Network
from tape_bench.progress import Progress
from tape_bench.results import provenance
from tape_bench.speed import synthetic
from tape_bench.speed.cache_rates import CacheRates, cache_rates
from tape_bench.speed.machine import copy_rate
from tape_bench.speed.measure import Speed, enough_for, measure, warm_up
from tape_bench.speed.processes import Together, measure_together


@dataclass(frozen=True)
class Benchmark:
    """What was measured."""

    network: Network | None
    """None for a model that does not say."""
    embedding: Speed
    together: Together | None
    """The same shared by several processes, where they were asked for."""
    peak_memory_bytes: int
    cache: CacheRates
    copy_bytes_per_second: float
    """What one thread copies within memory."""


def benchmark(
    session: Session,
    lengths: str,
    progress: Progress,
    *,
    proteins: int | None = None,
    seconds: float | None = None,
) -> Benchmark:
    """Embed random proteins against the clock, beside matrix products, copying and the disk.

    Args:
        session: the model, and processes that share the work, if more than one is to be measured.
        lengths: `tape`, a task's name, or a number of residues; see `synthetic.lengths`.
        progress: hears of progress.
        proteins: how many; None for as many as take `seconds`.
        seconds: about how long to embed; 20 if None.

    Raises:
        UsageError: the model does not read so many residues.
        ModelError: the model fails.
    """
    model, identity = session.model, session.identity
    typical = synthetic.lengths(500, lengths)
    longest = identity.longest_input or max(typical)
    if lengths.isdecimal() and int(lengths) > longest:
        raise UsageError(
            f"{identity.name} reads at most {longest} residues",
            where=f"--lengths {lengths}",
            fix=f"choose 1 to {longest}",
        )
    draw = partial(_draw, lengths, longest)
    network = model.describe() if isinstance(model, Described) else None
    progress.begin(identity.name)
    progress.advance("warm up", 0, 1, "rounds")
    warm_up(model, draw)
    count = proteins or enough_for(seconds or 20, model, draw)
    progress.advance("warm up", 1, 1, "rounds")
    speed = measure(model, draw(count), partial(_tell, progress, "embed"))
    memory = provenance.peak_memory()
    together = None
    if session.executor.parts > 1:
        together = measure_together(
            session, draw, count, partial(_tell, progress, "embed together")
        )
    progress.advance("cache", 0, 1, "rounds")
    rates = cache_rates(paths.cache(), identity.hidden_size, stored_as(identity, None), typical)
    progress.advance("cache", 1, 1, "rounds")
    return Benchmark(network, speed, together, memory, rates, copy_rate())


def _draw(lengths: str, longest: int, count: int) -> Sequence[str]:
    return synthetic.proteins([min(n, longest) for n in synthetic.lengths(count, lengths)])


def _tell(progress: Progress, phase: str, done: int, total: int) -> None:
    progress.advance(phase, done, total, "residues")
