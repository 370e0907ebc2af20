"""A worker process: takes its job from standard input, and tells of it line by line.

Run by `launch` as `python -m tape_bench.engine.worker`. The job and every line is JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from tape_bench.engine.job import Job
from tape_bench.errors import TapeBenchError


def main() -> int:
    """Do one job."""
    # Ctrl-C reaches every process of a terminal; the launcher alone decides what follows.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever libraries print goes to standard error: these lines are for the launcher.
    lines = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        _work(Job(**json.load(sys.stdin)), lines)
    except TapeBenchError as error:
        _tell(lines, error=[type(error).__name__, error.what, error.where, error.fix])
        return error.exit_code
    except BrokenPipeError:
        return 1  # The launcher is gone, and nobody waits for the rest.
    except BaseException:
        _tell(lines, crash=traceback.format_exc())
        return 1
    return 0


def _work(job: Job, lines: TextIO) -> None:
    # These take seconds to import; a job that cannot be read is told of before.
    import torch

    from tape_bench.engine.cache import Cache
    from tape_bench.engine.compute import compute
    from tape_bench.engine.forward import Reading
    from tape_bench.engine.world import World
    from tape_bench.models import load_model

    torch.set_num_threads(job.threads)
    world = World.of(os.environ, job.tensor)
    options = dict(job.options)
    if world is not None and job.tensor > 1:
        options["tensor_parallel"] = world.join(options.get("device", "cpu"))
    model = load_model(job.spec, **options)
    wanted = {Reading(text, window): frozenset(pools) for text, window, pools in job.wanted}
    recomputed = compute(
        model,
        wanted,
        Cache(Path(job.folder), job.hidden, job.stored),
        job.tokens_per_batch,
        lambda done, _: _tell(lines, done=done),
        writes=world is None or world.writes,
    )
    _tell(lines, recomputed=recomputed)


def _tell(lines: TextIO, **what: Any) -> None:
    print(json.dumps(what), file=lines, flush=True)


if __name__ == "__main__":
    sys.exit(main())
