"""How far a run is, told on standard error so that standard output stays clean.

A terminal has one line that moves; a log, a pipe and a terminal that cannot move its cursor get
one line a phase, and one a minute while it lasts.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tape_bench.cli.output import aside
from tape_bench.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 60.0
"""Seconds after which a log hears of a phase that is still going on."""


@contextmanager
def showing(quiet: bool) -> Iterator[Progress]:
    """Watch a run the way standard error can show it, or not at all when quiet."""
    with aside():
        if quiet:
            yield Progress()
        elif (console := _moving_terminal()) is not None:
            from tape_bench.cli.moving_line import MovingLine

            with MovingLine(console) as line:
                yield line
        else:
            yield Lines()


def _moving_terminal() -> Console | None:
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_interactive else None


@dataclass
class Phase:
    """A part of a task that is under way, and how far it is."""

    task: str
    """Its name, behind its number where there are several: `2/5 contact`."""
    name: str
    unit: str
    done: int = 0
    total: int = 0
    note: str = ""
    since: float = field(default_factory=time.perf_counter)
    until: float | None = None
    """When all was done; None as long as it is not."""

    def move(self, done: int, total: int, note: str) -> None:
        """So much is done now."""
        self.done, self.total, self.note = done, total, note
        if self.complete and self.until is None:
            self.until = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long it has lasted."""
        return (self.until or time.perf_counter()) - self.since

    @property
    def complete(self) -> bool:
        """Whether all is done, as far as it is known how much that is."""
        return 0 < self.total <= self.done

    @property
    def rate(self) -> str:
        """How fast it goes, once that can be told."""
        if not self.done or self.seconds < 0.2:
            return ""
        rate = self.done / self.seconds
        return f"{self.amount(int(rate)) if rate >= 10 else f'{rate:.2g} {self.unit}'}/s"

    @property
    def left(self) -> str:
        """When it will be over, once that can be told: `ETA 12:30`."""
        if not self.done or not self.total or self.complete or self.seconds < 0.2:
            return ""
        return f"ETA {clock(self.seconds * (self.total / self.done - 1))}"

    def amount(self, count: int) -> str:
        """Write a number of its units, e.g. `1,200 residues`; bytes as people read them."""
        if self.unit != "bytes":
            return f"{count:,} {self.unit}"
        from rich.filesize import decimal

        return decimal(count)

    def so_far(self) -> str:
        """Write what is done, of how much; nothing where neither is known yet."""
        if not self.total:
            return self.amount(self.done) if self.done else ""
        if self.unit == "bytes":
            return f"{self.amount(self.done)} of {self.amount(self.total)}"
        return f"{self.done:,}/{self.total:,} {self.unit}"


class Teller(Progress):
    """Keeps what is under way; how it is told is up to what derives from it."""

    def __init__(self) -> None:
        self.phase: Phase | None = None
        self._task = ""

    def begin(self, task: str, number: int = 1, of: int = 1) -> None:
        """A task begins."""
        self.close("")
        self._task = f"{number}/{of} {task}" if of > 1 else task
        # Models are read and workers started before a first phase has anything to tell.
        self.phase = Phase(self._task, "", "")

    def advance(self, phase: str, done: int, total: int, unit: str, note: str = "") -> None:
        """So much of a phase is done."""
        if self.phase is None or self.phase.name != phase:
            self.close("")
            self.phase = Phase(self._task, phase, unit)
        self.phase.move(done, total, note)
        self.moved(self.phase)

    def close(self, how: str) -> None:
        """The phase under way, if there is one, is over."""
        over, self.phase = self.phase, None
        if over is not None:
            self.over(over, how)

    def moved(self, phase: Phase) -> None:
        """A phase has come farther."""

    def over(self, phase: Phase, how: str) -> None:
        """A phase is over; `how` says why, where that is not that all was done."""


class Lines(Teller):
    """For logs: a line when a phase is over, one a minute until then, one when a task is over."""

    def __init__(self) -> None:
        super().__init__()
        self._told = 0.0

    def moved(self, phase: Phase) -> None:
        """Tell of a phase that is complete, or that lasts."""
        if phase.complete:
            self.close("")
        elif phase.seconds - self._told > EVERY:
            self._told = phase.seconds
            told = filter(None, (phase.so_far(), phase.note, phase.rate, phase.left))
            self._say(f"{phase.task}: {phase.name}: {', '.join(told)}")

    def over(self, phase: Phase, how: str) -> None:
        """Tell how much was done, and how long it took; nothing where nothing was done."""
        self._told = 0.0
        if not phase.done:
            return
        done = f"{phase.amount(phase.done)} in {phase.seconds:.1f} s"
        told = filter(None, (done, phase.note, how))
        self._say(f"{phase.task}: {phase.name}: {', '.join(told)}")

    def end(self, task: str, how: str) -> None:
        """Tell how a task ended."""
        self.close("")
        self._say(f"{task}: {how}")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Write a duration: `12:30`, or `3:12:30` with hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
