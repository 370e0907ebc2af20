"""A benchmark harness for protein language models on the five TAPE tasks.

>>> from tape_bench import evaluate, load_task, load_model

docs/python.md shows the rest. A name brings its module when it is asked for, so that the commands
that need little start at once; none of them loads torch, scipy or pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tape_bench.cards import TaskCard
    from tape_bench.data.examples import load_task
    from tape_bench.errors import ModelError, TapeBenchError
    from tape_bench.models import load_model
    from tape_bench.models.embedder import Embedder, Identity
    from tape_bench.report.verbs import check, compare, leaderboard, load_records
    from tape_bench.results.collect import Filed, Records
    from tape_bench.results.record import RunRecord
    from tape_bench.run.evaluate import evaluate
    from tape_bench.run.external import score

    __version__: str
    """Version of the installed package; `unknown` where it is only on the path."""

_PLACES = {
    "Embedder": "models.embedder",
    "Filed": "results.collect",
    "Identity": "models.embedder",
    "ModelError": "errors",
    "Records": "results.collect",
    "RunRecord": "results.record",
    "TapeBenchError": "errors",
    "TaskCard": "cards",
    "check": "report.verbs",
    "compare": "report.verbs",
    "evaluate": "run.evaluate",
    "leaderboard": "report.verbs",
    "load_model": "models",
    "load_records": "report.verbs",
    "load_task": "data.examples",
    "score": "run.external",
}

__all__ = [
    "Embedder",
    "Filed",
    "Identity",
    "ModelError",
    "Records",
    "RunRecord",
    "TapeBenchError",
    "TaskCard",
    "__version__",
    "check",
    "compare",
    "evaluate",
    "leaderboard",
    "load_model",
    "load_records",
    "load_task",
    "score",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from tape_bench.results import provenance

        found: Any = provenance.version("tape-bench") or "unknown"
    elif name in _PLACES:
        found = getattr(import_module(f"tape_bench.{_PLACES[name]}"), name)
    else:
        raise AttributeError(f"module 'tape_bench' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
