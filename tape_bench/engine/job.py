"""What a worker process is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from tape_bench.engine.stored import Stored
from tape_bench.models.embedder import Pool


@dataclass(frozen=True)
class Job:
    """One worker's part of the work."""

    spec: str
    options: dict[str, Any]
    """Options of the model, device included."""
    tensor: int
    """Processes that compute one network together."""
    threads: int
    """Threads on a CPU."""
    folder: str
    """The model's folder in the cache."""
    hidden: int
    stored: Stored
    tokens_per_batch: int | None
    wanted: list[tuple[str, int | None, list[Pool]]]
    """What to compute: sequences, the windows they are read in, and their poolings."""

    def to_json(self) -> str:
        """Write the job down."""
        return json.dumps(asdict(self))
