"""A rank that `LocalProcesses` has started: computes its share, and tells of it as it goes.

Run as `python -m tape_bench.embedding.executors.rank FOLDER RANK`; every message is a pickle.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import BinaryIO

from tape_bench.embedding.executors.local import ASSIGNMENT, MEETING, Told
from tape_bench.errors import TapeBenchError


def main(folder: Path, rank: int) -> int:
    """Do one rank's part of the work."""
    threading.Thread(target=_end_with_the_launcher, daemon=True).start()
    # Ctrl-C reaches every process of a terminal; the launcher alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever libraries print goes to standard error: messages are for the launcher.
    messages = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        _work(folder, rank, messages)
    except TapeBenchError as error:
        _tell(messages, error)
        return error.exit_code
    except BrokenPipeError:
        return 1  # The launcher is gone, and nobody waits for the rest.
    except BaseException:
        _tell(messages, traceback.format_exc())
        return 1
    return 0


def _work(folder: Path, rank: int, messages: BinaryIO) -> None:
    # These take seconds to import.
    import torch
    from torch import distributed

    from tape_bench.cache.vectors import Cache
    from tape_bench.embedding.executors.executor import Job
    from tape_bench.embedding.executors.local import TogetherAssignment
    from tape_bench.embedding.executors.ranks import Ranks
    from tape_bench.models import load_model
    from tape_bench.parallel.launchers import Place
    from tape_bench.parallel.processes import World

    assigned = pickle.loads((folder / ASSIGNMENT).read_bytes())
    torch.set_num_threads(assigned.threads)
    size, device = len(assigned.devices), assigned.devices[rank]
    world = World(Place(rank, size, rank, size, one_machine=True), assigned.tensor)
    options = {**assigned.options, **({"device": device} if device else {})}
    # Those that share sequences alone have nothing to tell each other.
    if assigned.tensor > 1 or isinstance(assigned, TogetherAssignment):
        meeting = str(folder / MEETING)
        world.store = distributed.FileStore(meeting, size)  # type: ignore[attr-defined]
        connected = world.connect(device or "cpu")
        options |= {"tensor_parallel": connected} if assigned.tensor > 1 else {}
    if isinstance(assigned, TogetherAssignment):
        ranks = Ranks(load_model(assigned.spec, **options), world)
        ranks.together(assigned.part, assigned.payload, lambda *told: _tell(messages, told))
        return
    cache = Cache(assigned.folder, assigned.hidden, assigned.stored)
    executor = Ranks(load_model(assigned.spec, **options), world)
    job = Job(assigned.shares, cache, assigned.tokens_per_batch)
    _tell(messages, executor.run(job, lambda done, _: _tell(messages, done)))


def _tell(messages: BinaryIO, told: Told) -> None:
    pickle.dump(told, messages)
    messages.flush()


def _end_with_the_launcher() -> None:
    """Wait for the end of the launcher, and end at once; what is written is kept."""
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 1):
            pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
