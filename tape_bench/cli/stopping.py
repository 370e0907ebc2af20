"""SIGTERM, by which batch systems and launchers stop a run, ends it as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_received: list[int] = []


def heed_termination() -> None:
    """Turn SIGTERM into what Ctrl-C is, unless somebody has said already what it shall be."""
    mine = threading.current_thread() is threading.main_thread()
    if mine and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _stop)


def exit_code() -> int:
    """Return what shells expect of a program that a signal has ended: 128 and its number."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    # Whoever stops a group of processes often reaches each twice; once is enough.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
