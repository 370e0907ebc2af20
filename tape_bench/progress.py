"""How a run tells the outside how it is going, and how the parts of it tell the run."""

from __future__ import annotations

from collections.abc import Callable

Advance = Callable[[int, int], None]
"""Called with how much is done and how much there is in all, mostly residues."""

Steps = Callable[[int, int, float], None]
"""Called with epochs (or penalties) done and at most, and the validation loss of the last one."""


class Progress:
    """Hears of a run's progress; this one keeps quiet, the command line's tells people."""

    def begin(self, task: str, number: int = 1, of: int = 1) -> None:
        """A task begins, the first of one, or the second of five."""

    def advance(self, phase: str, done: int, total: int, unit: str, note: str = "") -> None:
        """So much of a phase is done; the note says how it goes, e.g. the validation loss.

        A phase is over when all is done, when another begins, or when `close` says so. A total of
        0 means that nobody knows it.
        """

    def close(self, how: str) -> None:
        """The phase under way is over before all was done; `how` says why, in words."""

    def end(self, task: str, how: str) -> None:
        """A task has ended."""
