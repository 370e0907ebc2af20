"""The family of errors a user can meet; the command line turns each into one clear message.

::

    TapeBenchError              anything a user can put right                    exit code 2
    ├── UsageError              options that make no sense, a value of the wrong kind
    │   └── UnknownNameError    a name nobody knows; a KeyError too
    ├── CardError               a task card or baseline table with faults (all of them listed)
    ├── DataError               a data file that is missing, broken or not what it says it is
    │   └── DownloadError       no mirror gave the file
    ├── ModelError              a model that cannot be loaded or cannot take this input
    │   └── CheckpointError     a checkpoint file that is missing, broken, foreign or unsafe
    ├── RecordError             a run record that is missing, cut short or of a future schema
    ├── TasksFailedError        some tasks of a run failed; the others' records are kept
    ├── PeerLostError           another process of this run is gone; its own error is the cause
    ├── NotComparableError      two scores that must not be set side by side     exit code 3
    └── StorageError            a full disk, a folder that cannot be written

Every error says what is wrong, where (file, record, line), and what to do about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from tape_bench import text


class TapeBenchError(Exception):
    """Something the user can put right: what is wrong, where, and what to do."""

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what, where, fix)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        # Whatever is quoted of a file must not steer the terminal it is shown in, nor fill it.
        return text.lines(text.cut("\n".join(lines)))

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword arguments survive the journey between worker processes.
        return _rebuild, (type(self), self.what, self.where, self.fix)


def _rebuild(
    kind: type[TapeBenchError], what: str, where: str | None, fix: str | None
) -> TapeBenchError:
    return kind(what, where=where, fix=fix)


class UsageError(TapeBenchError):
    """An unknown name, or options that make no sense together."""


class UnknownNameError(UsageError, KeyError):
    """A name nobody knows; a KeyError too, so that mappings may raise it."""


class CardError(TapeBenchError):
    """A task card or baseline table with faults; the message lists every one."""


class DataError(TapeBenchError):
    """A data file that is missing, broken, or not what it says it is."""


class DownloadError(DataError):
    """No mirror gave the file; the message lists what each one answered."""


class ModelError(TapeBenchError):
    """A model that cannot be loaded, or cannot take this input."""


class CheckpointError(ModelError):
    """A checkpoint that is missing, broken, foreign or unsafe to read."""


class RecordError(TapeBenchError):
    """A run record that is missing, cut short, edited, or of a future schema."""


class TasksFailedError(TapeBenchError):
    """Some tasks of a run failed; the others are complete and kept."""


class PeerLostError(TapeBenchError):
    """Another process of this run is gone; its own error, not this one, tells why."""


class NotComparableError(TapeBenchError):
    """Two scores that must not be set side by side."""

    exit_code = 3


class StorageError(TapeBenchError):
    """A full disk, or a folder that cannot be written."""


def unknown_name(noun: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for a name nobody knows: the nearest names, then all of them."""
    choices = sorted(known)
    nearest = difflib.get_close_matches(str(name), choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return UnknownNameError(
        f"there is no {noun} named {name!r}",
        fix=f"{hint}known {noun}s: {', '.join(choices) or 'none'}",
    )
