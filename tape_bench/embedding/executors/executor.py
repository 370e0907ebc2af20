"""What an executor promises, and the simplest: this process computes everything.

`LocalProcesses` starts others on this machine; `Ranks` is one of those that it, torchrun or srun
has started. Another way to have many machines compute, such as Ray, is another class with these
five members: hand each share of a job to a process that has the model, let it call `compute`, and
add up what they return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tape_bench import registry
from tape_bench.models.embedder import Embedder

if TYPE_CHECKING:
    from tape_bench.cache.vectors import Cache
    from tape_bench.embedding.fill import Missing
    from tape_bench.progress import Advance


Hear = Callable[[int, int, str], None]
"""Called with what is done, what there is in all, and how it goes."""


@dataclass(frozen=True)
class Job:
    """What is to be computed, and where it is to be kept."""

    shares: Sequence[Missing]
    """What each of an executor's parts is to compute, `[parts]`."""
    cache: Cache
    tokens_per_batch: int | None = None
    """Tokens computed at once; what the model finds good if None."""


@dataclass(frozen=True)
class Computed:
    """What computing came to."""

    residues: int = 0
    """Residues that went through the model."""
    seconds: float = 0.0
    """Time that took, without the start of processes."""
    recomputed: int = 0
    """Sequences whose values overflowed in half precision and were computed again."""

    def then(self, later: Computed) -> Computed:
        """Add what the same processes computed afterwards."""
        return self._and(later, self.seconds + later.seconds)

    def beside(self, other: Computed) -> Computed:
        """Add what other processes computed at the same time."""
        return self._and(other, max(self.seconds, other.seconds))

    def _and(self, other: Computed, seconds: float) -> Computed:
        residues, again = self.residues + other.residues, self.recomputed + other.recomputed
        return Computed(residues, seconds, again)


NOTHING = Computed()


class Executor(Protocol):
    """Computes what is wanted into a cache: this process, or several that share the work."""

    @property
    def parts(self) -> int:
        """Shares that a job is to be divided into."""

    @property
    def leads(self) -> bool:
        """True for the one process that speaks for all, and goes on when they have computed."""

    def run(self, job: Job, progress: Advance | None = None) -> Computed:
        """Compute a job, and return what this process knows of.

        Raises:
            ModelError: see `Forward`.
            StorageError: the disk is full or cannot be written.
            PeerLostError: another process of the run is gone.
        """

    def together(self, part: str, payload: Any, hear: Hear) -> None:
        """Have all processes do something together, such as training one network.

        Args:
            part: `module:function`, called in every process with a copy of the model, the payload,
                the process's `Team` and what hears of progress.
            payload: what all are told; it is pickled where processes are started.
            hear: called with what is done, what there is in all, and how it goes.

        Raises:
            TapeBenchError: what a process raised, or PeerLostError where one is gone.
        """

    def meet(self, computed: Computed) -> tuple[Executor, Computed] | None:
        """Wait for processes that run the same command, all but one of which are done then.

        Args:
            computed: what this process knows of.

        Returns:
            Who computes from now on, and what all have computed; None where another goes on.

        Raises:
            PeerLostError: another process of the run is gone.
        """


class Serial:
    """This process computes everything; an `Executor`."""

    parts = 1
    leads = True

    def __init__(self, model: Embedder) -> None:
        """Compute with a model."""
        self._model = model

    def run(self, job: Job, progress: Advance | None = None) -> Computed:
        """Compute the one share."""
        from tape_bench.embedding.fill import compute

        return compute(self._model, job.shares[0], job.cache, job.tokens_per_batch, progress)

    def together(self, part: str, payload: Any, hear: Hear) -> None:
        """Do it alone; see `Executor`."""
        from tape_bench.parallel.team import Team

        registry.resolve(part)(self._model, payload, Team(), hear)

    def meet(self, computed: Computed) -> tuple[Executor, Computed]:
        """Go on: there is nobody else."""
        return self, computed
