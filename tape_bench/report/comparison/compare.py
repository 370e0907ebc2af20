"""Two runs side by side: how much they differ, and whether chance alone could do that."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from tape_bench.cards import Kind
from tape_bench.errors import NotComparableError, RecordError
from tape_bench.report.comparison.pairing import Pair, why_not_comparable
from tape_bench.results.collect import PredictionsBySplit
from tape_bench.results.record import MetricRecord, RunRecord
from tape_bench.scoring.seed_variance import BySeed, seed_variance, untold, widened

SIGNIFICANT = 0.05
"""Adjusted p-value below which a difference is called one."""


@dataclass(frozen=True)
class Change:
    """One metric on one split, in two records."""

    task: str
    metric: str
    label: str
    split: str
    higher_is_better: bool
    model_a: str
    model_b: str
    a: float | None
    b: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    p: float | None = None
    """Permutation p-value, two-sided."""
    p_holm: float | None = None
    """The same, adjusted for all comparisons made at once."""
    doubts: tuple[str, ...] = ()
    """Why the two must not be compared; not empty only where the user insisted."""
    remark: str | None = None
    """Why there is no interval."""
    by_seed_a: BySeed | None = field(default_factory=dict)
    """Scores by seed; None where the head is solved, and no seed can change anything."""
    by_seed_b: BySeed | None = field(default_factory=dict)

    @property
    def difference(self) -> float | None:
        """The second score less the first."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def better(self) -> float | None:
        """The difference, positive where the second is better."""
        if self.difference is None:
            return None
        return self.difference if self.higher_is_better else -self.difference


def compare(
    pairs: Sequence[Pair],
    *,
    every_metric: bool = False,
    anyway: bool = False,
    level: float = 0.95,
    draws: int = 10_000,
) -> list[Change]:
    """Compare pairs of records, the second with the first.

    Args:
        pairs: records of the same task.
        every_metric: all metrics on all splits, not just the primary one on the headline split.
        anyway: compare what is not comparable too, and say so.
        level: confidence level of the intervals.
        draws: bootstrap draws, and permutations.

    Raises:
        NotComparableError: some pair is not comparable; all reasons are listed.
    """
    listed = [(pair, score_changes(pair, every_metric)) for pair in pairs]
    refused = [
        f"{change.task}: {doubt}"
        for _, changes in listed
        for change in changes
        for doubt in change.doubts
    ]
    if refused and not anyway:
        reasons = "\n".join(f"  - {reason}" for reason in dict.fromkeys(refused))
        raise NotComparableError(
            f"these records must not be compared:\n{reasons}",
            fix="compare runs of the same data, protocol and metric, or insist with --anyway",
        )
    tested = []
    for pair, changes in listed:
        kept = predictions_of(pair)
        kind = pair.a.record.task.kind
        tested += [measured(change, kept, kind, level, draws, test=True) for change in changes]
    return _adjusted(tested)


def score_changes(pair: Pair, every_metric: bool = False) -> list[Change]:
    """List what two records say of the same metrics, without any statistics."""
    a, b = pair.a.record, pair.b.record
    wanted = [(a.task.primary, a.task.headline)]
    if every_metric:
        shared = [metric for metric in a.metrics if b.metric(metric.id, metric.split)]
        wanted += [(metric.id, metric.split) for metric in shared]
    return [score_change(pair, metric, split) for metric, split in dict.fromkeys(wanted)]


def score_change(pair: Pair, metric: str, split: str) -> Change:
    """Say what two records say of one metric on one split."""
    a, b = pair.a.record, pair.b.record
    found_a, found_b = a.metric(metric, split), b.metric(metric, split)
    known = found_a or found_b
    return Change(
        task=a.task.id,
        metric=metric,
        label=known.label if known else metric,
        split=split,
        higher_is_better=known.higher_is_better if known else True,
        model_a=a.model.name,
        model_b=b.model.name,
        a=found_a.value if found_a else None,
        b=found_b.value if found_b else None,
        n=found_b.n if found_b else None,
        doubts=tuple(why_not_comparable(pair, metric, split)),
        by_seed_a=_by_seed(a, found_a),
        by_seed_b=_by_seed(b, found_b),
    )


def predictions_of(pair: Pair) -> tuple[PredictionsBySplit, PredictionsBySplit] | str:
    """Read the predictions of both records, or say why that cannot be."""
    try:
        return pair.a.predictions(), pair.b.predictions()
    except RecordError as error:
        return error.what


def measured(
    change: Change,
    kept: tuple[PredictionsBySplit, PredictionsBySplit] | str,
    kind: str,
    level: float,
    draws: int,
    *,
    test: bool = False,
) -> Change:
    """Add the interval of the change, and the permutation test if wanted.

    The interval is the paired bootstrap over proteins, widened by how much the runs' scores
    differ from seed to seed. A head trained with a single seed gets neither interval nor test:
    proteins alone would say that seed variance is a difference.
    """
    a, b = change.by_seed_a, change.by_seed_b
    if unknown := untold([(change.model_a, a), (change.model_b, b)]):
        return dataclasses.replace(change, remark=unknown)
    if isinstance(kept, str):
        return dataclasses.replace(change, remark=kept)
    # scipy takes longer to start than everything else here.
    from tape_bench.scoring.metrics import find
    from tape_bench.scoring.significance import paired_bootstrap, permutation_test

    target, definition = change.metric.split(".", 1)
    metric = find(definition, cast(Kind, kind))
    place = (target, change.split)
    if any(place not in side for side in kept):
        return dataclasses.replace(change, remark=f"no predictions of {target} on {change.split}")
    before, after = kept[0][place], kept[1][place]
    try:
        difference = paired_bootstrap(metric, after, before, level=level, draws=draws)
        p = permutation_test(metric, after, before, permutations=draws) if test else None
    except NotComparableError as error:
        return dataclasses.replace(change, remark=error.what)
    change = dataclasses.replace(change, n=difference.n, p=p, remark=difference.reason)
    if difference.value is None or difference.interval is None:
        return change
    low, high = difference.interval.low, difference.interval.high
    if chance := seed_variance(a, b):
        low, high = widened(difference.value, low, high, chance, level)
    return dataclasses.replace(change, low=low, high=high)


def in_words(change: Change) -> str:
    """Say in a sentence what a comparison found."""
    better = change.better
    if better is None:
        return "no difference can be given: the metric is undefined for one of the two"
    if better == 0 and not (change.low or change.high):
        return "the two scores are the same"
    p = change.p_holm
    size = f"{abs(better):.3f}"
    ahead = f"{change.model_b if better > 0 else change.model_a} is ahead by {size}"
    if p is None or change.low is None or change.high is None:
        return f"{ahead}; not told from chance: {change.remark}"
    if p >= SIGNIFICANT:
        return f"no clear difference: chance alone gives as large a one in {_odds(p)}"
    if change.low <= 0 <= change.high:
        return f"{ahead}, which seed variance could make"
    word = "better" if better > 0 else "worse"
    return f"{change.model_b} is {word} by {size}: chance alone gives as much in {_odds(p)}"


def _odds(p: float) -> str:
    if p <= 0.001:
        return "at most 1 of 1,000 cases"
    return f"about {p * 100:.2g} of 100 cases" if p < 0.1 else f"about {p * 100:.0f} of 100 cases"


def _by_seed(record: RunRecord, metric: MetricRecord | None) -> BySeed | None:
    if not record.protocol.seed_matters:
        return None
    # A record lists its scores in the order of rising seeds.
    score_changes = zip(
        sorted(record.protocol.seeds), metric.per_seed if metric else (), strict=False
    )
    return {seed: value for seed, value in score_changes if value is not None}


def _adjusted(changes: Sequence[Change]) -> list[Change]:
    if all(change.p is None for change in changes):
        return list(changes)
    from tape_bench.scoring.significance import holm

    adjusted = iter(holm([change.p for change in changes if change.p is not None]))
    return [
        change if change.p is None else dataclasses.replace(change, p_holm=next(adjusted))
        for change in changes
    ]
