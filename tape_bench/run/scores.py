"""From predictions to scores: every metric of the card on every split, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from tape_bench.cards import MetricCard
from tape_bench.progress import Progress
from tape_bench.results.predictions import seeds_in_order
from tape_bench.results.record import IntervalRecord, MetricRecord
from tape_bench.run.plan import DRAWS, LEVEL, RunPlan
from tape_bench.scoring.intervals import interval
from tape_bench.scoring.metrics import Metric, find, score
from tape_bench.scoring.predictions import Predictions

ByKey = Mapping[tuple[str, str], Mapping[int, Predictions]]


def metric_records(
    plan: RunPlan, predictions: ByKey, absent: Mapping[str, str], progress: Progress
) -> list[MetricRecord]:
    """Score every metric of the card on the validation and test splits.

    A metric that has no value says why: the target was not there to learn, or not there to score.
    """
    splits = [name for name in plan.reads if plan.data[name].role != "train"]
    places = [(split, metric) for split in splits for metric in plan.card.metrics]
    records = []
    for done, (split, metric) in enumerate(places):
        progress.advance("score", done, len(places), "metrics")
        by_seed = predictions.get((metric.target, split))
        if by_seed is None:
            field = plan.card.target(metric.target).field
            reason = absent.get(metric.target, f"the {split} records carry no {field}")
            records.append(_undefined(plan, metric, split, reason))
        else:
            drawn = split in plan.tests
            records.append(_score(plan, metric, split, seeds_in_order(by_seed), drawn))
    progress.advance("score", len(places), len(places), "metrics")
    return records


def _score(
    plan: RunPlan, card: MetricCard, split: str, by_seed: Sequence[Predictions], drawn: bool
) -> MetricRecord:
    metric = find(card.definition, plan.card.kind)
    estimates = [score(card.definition, predictions) for predictions in by_seed]
    values = [estimate.value for estimate in estimates]
    defined = [value for value in values if value is not None]
    # A mean over the seeds that happen to be defined would hide that some are not.
    whole = len(defined) == len(values)
    return MetricRecord(
        id=card.id,
        label=card.label,
        split=split,
        value=fmean(defined) if whole else None,
        undefined=None if whole else next(e.reason for e in estimates if e.value is None),
        per_seed=values,
        n=estimates[0].n,
        n_left_out=estimates[0].left_out,
        interval=_interval(metric, by_seed) if drawn and whole else None,
        higher_is_better=metric.higher_is_better,
        primary=_is_primary(plan, card, split),
    )


def _undefined(plan: RunPlan, card: MetricCard, split: str, reason: str) -> MetricRecord:
    return MetricRecord(
        id=card.id,
        label=card.label,
        split=split,
        value=None,
        undefined=reason,
        per_seed=[None] * len(plan.seeds),
        n=0,
        higher_is_better=find(card.definition, plan.card.kind).higher_is_better,
        primary=_is_primary(plan, card, split),
    )


def _is_primary(plan: RunPlan, card: MetricCard, split: str) -> bool:
    return card.id == plan.card.primary and split == plan.card.headline


def _interval(metric: Metric, by_seed: Sequence[Predictions]) -> IntervalRecord | None:
    found = interval(metric, by_seed, level=LEVEL, draws=DRAWS)
    return IntervalRecord(**vars(found)) if found else None
