"""A benchmark harness for protein language models on the five TAPE tasks.

>>> from tape_bench import evaluate, load_task, load_model
"""

from tape_bench.data.examples import load_task
from tape_bench.evaluate import evaluate
from tape_bench.models import load_model
from tape_bench.results.provenance import version

__version__ = version("tape-bench") or "unknown"
"""Version of the installed package; `unknown` where it is only on the path."""

__all__ = ["evaluate", "load_model", "load_task"]
