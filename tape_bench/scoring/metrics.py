"""Metrics, each with an id that fixes its definition, and a score or a reason for none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np

from tape_bench.cards import Kind
from tape_bench.errors import UsageError, unknown_name
from tape_bench.scoring import classes, contact_precision, published, values
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.statistic import Statistic

Scale = Literal["share", "correlation", "error", "plain"]
"""What values a score can have: 0 to 1, -1 to 1, 0 upwards, or any."""


@dataclass(frozen=True)
class Estimate:
    """A score, or the reason why there is none."""

    value: float | None
    reason: str | None
    """Why there is no score; None where there is one."""
    n: int
    """Proteins it rests on."""
    left_out: dict[str, int]
    """Proteins the metric cannot score, by reason."""


@dataclass(frozen=True)
class Metric:
    """One way of turning predictions into a score."""

    definition: str
    """The id without its target: `accuracy.pooled` of `ss3.accuracy.pooled`."""
    kinds: tuple[Kind, ...]
    """Kinds of task it can score."""
    higher_is_better: bool
    sentence: str
    """What is computed, in one sentence."""
    scale: Scale
    of: Callable[[Predictions], Statistic] = field(repr=False, compare=False)

    def statistic(self, predictions: Predictions) -> Statistic:
        """Return the metric on these predictions, ready to be summed, swapped or drawn again."""
        broken = np.count_nonzero(~np.isfinite(predictions.values))
        if broken:
            size = predictions.values.size
            return Statistic.empty(f"{broken} of {size} predicted values are not finite numbers")
        return self.of(predictions)


def score(definition: str, predictions: Predictions) -> Estimate:
    """Compute one metric.

    Args:
        definition: Id without its target, e.g. `accuracy.pooled`.
        predictions: What was predicted and what is true.

    Returns:
        The score with the number of proteins it rests on, or the reason why it is undefined.

    Raises:
        UsageError: No metric of this id can score predictions of this kind.
    """
    statistic = find(definition, predictions.kind).statistic(predictions)
    value = statistic.value()
    reason = statistic.why_undefined() if value is None else None
    return Estimate(value, reason, statistic.n, statistic.left_out)


def find(definition: str, kind: Kind) -> Metric:
    """Return the metric of this id, for tasks of this kind.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    metric = _look_up(definition)
    known = [metric.definition for metric in of_kind(kind)]
    if metric is None:
        raise unknown_name("metric", definition, known)
    if kind not in metric.kinds:
        raise UsageError(
            f"metric {definition!r} scores {' and '.join(metric.kinds)} tasks, not {kind}",
            fix=f"metrics for {kind}: {', '.join(known)}",
        )
    return metric


def of_kind(kind: Kind) -> list[Metric]:
    """Return the metrics for tasks of this kind, parametric ones with their usual parameters."""
    return [metric for metric in METRICS.values() if kind in metric.kinds]


def describe(definition: str) -> str:
    """Return what a metric computes, in one sentence. Raises UsageError for unknown ids."""
    metric = _look_up(definition)
    if metric is None:
        raise unknown_name("metric", definition, METRICS)
    return metric.sentence


def _look_up(definition: str) -> Metric | None:
    if definition in METRICS:
        return METRICS[definition]
    for pattern, build in _FAMILIES.items():
        if matched := re.fullmatch(pattern, definition):
            return build(*matched.groups())
    return None


def _accuracies() -> list[Metric]:
    residues: tuple[Kind, ...] = ("token_class",)
    proteins: tuple[Kind, ...] = ("sequence_class",)
    return [
        Metric(
            "accuracy.pooled", residues, True,
            "share of labelled residues whose class is predicted, all proteins pooled",
            "share", classes.accuracy_pooled,
        ),
        Metric(
            "accuracy.by_protein", residues, True,
            "share of labelled residues whose class is predicted, averaged over proteins",
            "share", classes.accuracy_by_protein,
        ),
        Metric(
            "accuracy.top1", proteins, True,
            "share of proteins whose class is scored highest, the lowest class among equals",
            "share", classes.accuracy_pooled,
        ),
        Metric(
            "accuracy.top5.ties_shared", proteins, True,
            "share of proteins whose class is among the five scored highest, classes scored alike "
            "sharing the last places evenly",
            "share", classes.accuracy_top5,
        ),
        Metric(
            "accuracy.top5", proteins, True,
            "share of proteins for whose class fewer than five classes are scored strictly higher: "
            "always right where all are scored alike (accuracy.top5.ties_shared is not)",
            "share", classes.accuracy_top5_generous,
        ),
        Metric(
            "f1.macro", residues + proteins, True,
            "F1 of each class that occurs or is predicted, proteins pooled, averaged over classes",
            "share", classes.f1,
        ),
    ]  # fmt: skip


def _f1_of_class(class_: str) -> Metric:
    return Metric(
        f"f1.class{class_}", ("token_class", "sequence_class"), True,
        f"F1 of class {class_}, proteins pooled: 2 hits / (occurrences + predictions)",
        "share", partial(classes.f1, class_=int(class_)),
    )  # fmt: skip


_VALUES: dict[str, tuple[Callable[..., Statistic], bool, str]] = {
    "spearman": (values.spearman, True, "rank correlation, equal values sharing their mean rank"),
    "pearson": (values.pearson, True, "linear correlation"),
    "mse": (values.squared_error, False, "mean squared error"),
    "mae": (values.absolute_error, False, "mean absolute error"),
}


def _of_values(name: str, side: str | None = None, threshold: str | None = None) -> Metric:
    of, higher_is_better, what = _VALUES[name]
    scale: Scale = "correlation" if higher_is_better else "error"
    sentence = f"{what} of predicted and measured values"
    if side is None or threshold is None:
        return Metric(name, ("sequence_value",), higher_is_better, sentence, scale, of)
    return Metric(
        f"{name}.true{side}{threshold}", ("sequence_value",), higher_is_better,
        f"{sentence}, over the proteins measured {'above' if side == '>' else 'at most'} "
        f"{threshold} only",
        scale, partial(of, mode=(side, float(threshold))),
    )  # fmt: skip


def _precision(cut: str, range_: str) -> Metric:
    made_of = [contact_precision.BANDS[band] for band in contact_precision.RANGES[range_]]
    first, last = made_of[0][0], made_of[-1][1]
    apart = f"{first} to {last}" if last else f"at least {first}"
    return Metric(
        f"precision@{cut}.{range_}.upper.by_protein", ("residue_pair",), True,
        f"share of contacts among the {cut} valid pairs predicted most confidently (all, where "
        f"there are fewer), {apart} residues apart, averaged over proteins",
        "share", partial(contact_precision.precision_by_protein, cut=cut, range_=range_),
    )  # fmt: skip


def _tape_by_batch(batch: str) -> Metric:
    return Metric(
        f"tape_p_at_l5.batch{batch}", ("residue_pair",), True,
        f"precision at L/5, six or more apart, as TAPE's code computes it: pooled over each "
        f"{batch} proteins in order, batches averaged, picks beyond the valid pairs count -1",
        "plain", partial(published.tape_by_batch, batch=int(batch)),
    )  # fmt: skip


def _published_precisions() -> list[Metric]:
    return [
        Metric(
            "tape_p_at_l5.pooled", ("residue_pair",), True,
            "precision at L/5, six or more apart, as TAPE's code computes it for a single batch: "
            "proteins pooled, picks beyond the valid pairs count -1",
            "plain", published.tape_pooled,
        ),
        Metric(
            "proteinlm_p_at_l5.both_triangles.pooled", ("residue_pair",), True,
            "precision at L/5 as ProteinLM computes it: every contact twice (i, j and j, i), so "
            "in effect at L/10, proteins pooled, picks beyond the valid pairs count as misses",
            "share", published.proteinlm_pooled,
        ),
    ]  # fmt: skip


_NUMBER = r"-?\d+(?:\.\d+)?"
_FAMILIES: dict[str, Callable[..., Metric]] = {
    r"f1\.class(0|[1-9]\d*)": _f1_of_class,
    rf"({'|'.join(_VALUES)})\.true(>|<=)({_NUMBER})": _of_values,
    r"tape_p_at_l5\.batch([1-9]\d*)": _tape_by_batch,
}
"""Metrics with a parameter: the pattern of their ids, and what builds them."""

METRICS: dict[str, Metric] = {
    metric.definition: metric
    for metric in [
        *_accuracies(),
        *(_f1_of_class(str(class_)) for class_ in range(8)),
        *(_of_values(name) for name in _VALUES),
        *(
            _of_values(name, side, threshold)
            for name in ("spearman", "mse")
            for threshold in ("2.5", "2.0")
            for side in (">", "<=")
        ),
        *(
            _precision(cut, range_)
            for range_ in contact_precision.RANGES
            for cut in contact_precision.CUTOFFS
        ),
        *_published_precisions(),
        _tape_by_batch("8"),
    ]
}
"""Every metric by definition id; of parametric ones, the usual members."""
