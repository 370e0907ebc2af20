"""Progress bars with rates, drawn on standard error so that standard output stays clean."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tape_bench.watch import Watch


class Quiet(Watch):
    """Draws nothing."""

    def end(self, task: str, how: str) -> None:
        """A task has ended."""


@contextmanager
def watching(quiet: bool) -> Iterator[Quiet]:
    """Watch a run: bars on a terminal, one line a phase elsewhere, nothing when quiet."""
    if quiet:
        yield Quiet()
    elif sys.stderr.isatty():
        bars = _Bars()
        with bars.live:
            yield bars
    else:
        yield _Lines()


class _Lines(Quiet):
    """For logs: one line when a phase is over, one when a task is."""

    def __init__(self) -> None:
        self._task = ""
        self._phase = ""
        self._done = ""
        self._since = time.perf_counter()

    def begin(self, task: str) -> None:
        self._task = task

    def progress(self, phase: str, done: int, total: int, unit: str, note: str = "") -> None:
        if phase != self._phase:
            self._close()
            self._phase, self._since = phase, time.perf_counter()
        self._done = f"{done:,} {unit}"
        if done >= total:
            self._close()

    def end(self, task: str, how: str) -> None:
        self._close()
        print(f"{task}: {how}", file=sys.stderr, flush=True)

    def _close(self) -> None:
        # A phase may end early (training stops, errors): it is over when the next begins.
        if self._phase:
            seconds = time.perf_counter() - self._since
            line = f"{self._task}: {self._phase}: {self._done} in {seconds:.1f} s"
            print(line, file=sys.stderr, flush=True)
        self._phase = ""


class _Bars(Quiet):
    """For people: one bar for the phase under way."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        self.live = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[name]}"),
            TextColumn("[dim]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar = self.live.add_task("", name="", rate="", total=None, visible=False)
        self._phase = ""
        self._task = ""
        self._since = time.perf_counter()

    def begin(self, task: str) -> None:
        self._task, self._phase = task, ""

    def progress(self, phase: str, done: int, total: int, unit: str, note: str = "") -> None:
        if phase != self._phase:
            self._phase, self._since = phase, time.perf_counter()
            self.live.reset(
                self._bar, total=total, description=phase, name=self._task, visible=True
            )
        seconds = time.perf_counter() - self._since
        rate = f"{done / seconds:,.0f} {unit}/s" if seconds > 0.2 and done else unit
        self.live.update(self._bar, completed=done, total=total, rate=rate)

    def end(self, task: str, how: str) -> None:
        self.live.update(self._bar, visible=False)
        colour = "red" if how == "failed" else "green"
        self.live.console.print(f"{task} [{colour}]{how}[/]", highlight=False)
