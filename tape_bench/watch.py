"""How a run tells the outside how it is going."""

from __future__ import annotations


class Watch:
    """Hears of a run's progress; this one keeps quiet, the command line's draws bars."""

    def begin(self, task: str) -> None:
        """A task begins."""

    def progress(self, phase: str, done: int, total: int, unit: str, note: str = "") -> None:
        """So much of a phase is done; the note says how it goes, e.g. the validation loss."""
