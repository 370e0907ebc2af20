"""How much worse a score may get before the gate closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tape_bench.errors import UsageError

_SYNTAX = "AMOUNT, TASK=AMOUNT or TASK:METRIC=AMOUNT, e.g. 0.005 or contact=0.01"


@dataclass(frozen=True)
class Tolerances:
    """The drop that is let pass: for all scores, for a task, or for one metric of a task."""

    default: float = 0.0
    by_task: Mapping[str, float] = field(default_factory=dict)
    by_metric: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def of(self, task: str, metric: str) -> float:
        """Return the tolerance of one score: the most particular one stands."""
        return self.by_metric.get((task, metric), self.by_task.get(task, self.default))

    def extra_metrics(self, task: str) -> list[str]:
        """Return the metrics of a task that are named, and so have to be checked."""
        return [metric for named, metric in self.by_metric if named == task]


def parse(texts: Sequence[str]) -> Tolerances:
    """Read tolerances as a user writes them.

    Raises:
        UsageError: one is not understood.
    """
    default = 0.0
    by_task: dict[str, float] = {}
    by_metric: dict[tuple[str, str], float] = {}
    for text in texts:
        # A metric id may hold an equals sign itself: the amount stands after the last one.
        name, _, amount = text.rpartition("=")
        task, _, metric = name.partition(":")
        value = _amount(amount, text)
        if metric:
            by_metric[task, metric] = value
        elif task:
            by_task[task] = value
        else:
            default = value
    return Tolerances(default, by_task, by_metric)


def _amount(amount: str, text: str) -> float:
    try:
        value = float(amount)
    except ValueError:
        raise UsageError(f"not a tolerance: {text!r}", fix=f"write {_SYNTAX}") from None
    if not 0 <= value < float("inf"):
        raise UsageError(
            f"a tolerance is a number from 0 upwards, not {amount!r}", fix=f"write {_SYNTAX}"
        )
    return value
