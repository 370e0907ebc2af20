"""A benchmark harness for protein language models on the five TAPE tasks.

>>> from tape_bench import evaluate, load_task, load_model

docs/python.md shows the rest. Importing this loads neither torch nor scipy nor pandas.
"""

from tape_bench.cards import TaskCard
from tape_bench.data.examples import load_task
from tape_bench.errors import ModelError, TapeBenchError
from tape_bench.models import load_model
from tape_bench.models.embedder import Embedder, Identity
from tape_bench.report.verbs import check, compare, leaderboard, load_records
from tape_bench.results import provenance
from tape_bench.results.collect import Filed, Records
from tape_bench.results.record import RunRecord
from tape_bench.run.evaluate import evaluate
from tape_bench.run.external import score

__version__ = provenance.version("tape-bench") or "unknown"
"""Version of the installed package; `unknown` where it is only on the path."""

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
