"""How often `tape-bench check --paired` and `compare` raise a false alarm, or see a real loss.

    python benchmarks/gate_error_rates.py > benchmarks/gate_error_rates.md

Every pair is two runs on the same simulated proteins, with errors that are partly shared, as those
of two models are. A head that is solved gives one set of predictions; one that is trained gives
another with every seed, better or worse by luck, about as much as trained heads on stability.
Without a true difference an alarm is false; with one, the share of alarms is the power. The gate
runs at its defaults: tolerance 0, 95 % for all scores of a check together.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from tape_bench.report.comparison.compare import Change, in_words, measured
from tape_bench.report.gate.judge import Exit, judge, level_of_each
from tape_bench.scoring.metrics import find
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.significance import holm

SHARED = 0.5
"""Correlation of the two models' errors."""
LUCK = 0.15
"""Spread of the noise from seed to seed: of Spearman's correlation and of accuracy, 0.045."""
OWN = 0.2
"""Part of a model's errors that every seed makes anew."""
Side = list[Predictions]
"""Predictions of one run, one for each seed."""
CLUSTER = 60
"""Proteins of one cluster, where there are clusters."""


@dataclass(frozen=True)
class Rates:
    """What became of many checks."""

    alarms: float
    """Share of checks that end with 1, regression."""
    untold: float
    """Share of checks that end with 4, cannot be told."""
    calls: float
    """Share of comparisons that call one of the two better."""
    drop: float
    """Mean drop of a score."""


def rates(
    kind: str,
    loss: float,
    n: int,
    scores: int = 1,
    seeds: int | None = None,
    pairs: int = 200,
    draws: int = 1000,
    careless: bool = False,
) -> Rates:
    """Check and compare many pairs of runs.

    Args:
        kind: `sequence_value` (Spearman), `clusters` (the same, clusters of proteins sharing
            their errors) or `token_class` (accuracy over residues).
        loss: how much more noise the new model has, as a share of the old one's.
        n: proteins in the test set, or clusters.
        scores: scores in one check, each with its own proteins.
        seeds: seeds of each run; None for heads that are solved.
        pairs: checks simulated.
        draws: bootstrap draws, and permutations.
        careless: take heads that were trained for solved ones.
    """
    ended, calls, drops = [], 0, []
    for pair in range(pairs):
        random = np.random.default_rng([pair, n, scores, seeds or 0])
        believed = None if careless else seeds
        changes = [
            _change(_sides(kind, loss, n, seeds, random), believed, scores, draws)
            for _ in range(scores)
        ]
        drops += [-(change.difference or 0.0) for change in changes]
        outcomes = {judge(change, 0.0, paired=True)[0] for change in changes}
        ended.append(next((o for o in (Exit.REGRESSION, Exit.UNTOLD) if o in outcomes), Exit.FINE))
        told = [change for change in changes if change.p is not None]
        adjusted = holm([change.p for change in told if change.p is not None])
        said = [
            in_words(dataclasses.replace(change, p_holm=p))
            for change, p in zip(told, adjusted, strict=True)
        ]
        calls += any("chance alone gives as much" in words for words in said)
    alarms, untold = (ended.count(outcome) / pairs for outcome in (Exit.REGRESSION, Exit.UNTOLD))
    return Rates(alarms, untold, calls / pairs, float(np.mean(drops)))


def _change(sides: tuple[Side, Side], seeds: int | None, scores: int, draws: int) -> Change:
    before, after = sides
    name = "accuracy.pooled" if before[0].kind == "token_class" else "spearman"
    by_seed = [
        {seed: find(name, one.kind).statistic(one).value() or 0.0 for seed, one in enumerate(side)}
        for side in sides
    ]
    means = [float(np.mean(list(side.values()))) for side in by_seed]
    told = by_seed if seeds else (None, None)
    change = Change(
        "task", f"x.{name}", name, "test", True, "old", "new", *means,
        by_seed_a=told[0], by_seed_b=told[1],
    )  # fmt: skip
    kept = {("x", "test"): before}, {("x", "test"): after}
    level = level_of_each(0.95, scores)
    return measured(change, kept, before[0].kind, level, draws, test=True)


def _sides(
    kind: str, loss: float, n: int, seeds: int | None, random: np.random.Generator
) -> tuple[Side, Side]:
    simulate = _residues if kind == "token_class" else _values
    return simulate(n, kind == "clusters", loss, seeds, random)


def _values(
    n: int, clustered: bool, loss: float, seeds: int | None, random: np.random.Generator
) -> tuple[Side, Side]:
    clusters = np.arange(n).repeat(CLUSTER) if clustered else np.arange(n)

    def normal() -> np.ndarray:
        # In a cluster, half of everything is common to its proteins.
        alone = random.normal(size=len(clusters))
        together = random.normal(size=n)[clusters]
        return np.sqrt(0.5) * (alone + together) if clustered else alone

    truth = normal()
    a, b = _noises(normal, loss, seeds, random)
    return (
        [_predictions("sequence_value", truth + 0.7 * noise, truth, clusters) for noise in a],
        [_predictions("sequence_value", truth + 0.7 * noise, truth, clusters) for noise in b],
    )


def _residues(
    n: int, clustered: bool, loss: float, seeds: int | None, random: np.random.Generator
) -> tuple[Side, Side]:
    lengths = random.integers(50, 200, size=n)
    # Some proteins are harder than others: residues of one protein are not independent.
    hard = np.repeat(random.lognormal(sigma=0.4, size=n), lengths)[:, None]
    truth = random.integers(0, 3, size=lengths.sum())
    a, b = _noises(lambda: random.normal(size=(len(truth), 3)), loss, seeds, random)
    signal = np.eye(3)[truth]
    return (
        [_predictions("token_class", signal + 0.8 * hard * x, truth, None, lengths) for x in a],
        [_predictions("token_class", signal + 0.8 * hard * x, truth, None, lengths) for x in b],
    )


def _noises(normal, loss: float, seeds: int | None, random) -> list[list[np.ndarray]]:
    """Draw the errors of both models, one array a seed."""
    common = normal()
    sides = []
    for scale in (1.0, 1.0 + loss):
        mine = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * normal()
        if seeds is None:
            sides.append([scale * mine])
            continue
        luck = np.maximum(1 + LUCK * random.normal(size=seeds), 0.2)
        sides.append(
            [scale * size * (np.sqrt(1 - OWN) * mine + np.sqrt(OWN) * normal()) for size in luck]
        )
    return sides


def _predictions(kind, values, truth, clusters=None, lengths=None) -> Predictions:
    lengths = np.full(len(truth), 50) if lengths is None else lengths
    ids = tuple(str(i) for i in range(len(lengths)))
    return Predictions(kind, ids, lengths, values.astype(np.float32), truth, clusters)


METRICS = {
    "sequence_value": "Spearman",
    "clusters": f"Spearman, clusters of {CLUSTER}",
    "token_class": "accuracy, pooled",
}


def main() -> None:
    pairs = 200
    print(f"# Error rates of the gate and of `compare`, {pairs} simulated pairs each\n")
    print("`check` counts ends with 1 (regression) and with 4 (cannot be told); `compare` counts")
    print(
        "pairs of which it calls one better. Without a true loss, both are false alarms. The last"
    )
    print("row is what proteins alone would make of heads that were trained with one seed.\n")
    print("| metric | proteins or clusters | heads | scores | true loss | `check`: 1 | `check`: 4 "
          "| `compare` | |")  # fmt: skip
    print("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    settings = [
        (kind, n, 1, seeds, loss, False)
        for kind, n in (("sequence_value", 300), ("clusters", 17), ("token_class", 300))
        for seeds in (None, 1, 3, 5)
        for loss in (0.0, 0.1, 0.3)
    ]
    settings += [
        ("sequence_value", 100, 5, seeds, loss, False) for seeds in (None, 3) for loss in (0.0, 0.3)
    ]
    settings += [("sequence_value", 1000, 1, None, loss, False) for loss in (0.0, 0.05, 0.1)]
    settings += [("sequence_value", 3000, 1, 1, 0.0, careless) for careless in (False, True)]
    for kind, n, scores, seeds, loss, careless in settings:
        row(kind, n, scores, seeds, loss, careless, pairs)


def row(
    kind: str, n: int, scores: int, seeds: int | None, loss: float, careless: bool, pairs: int
) -> None:
    """Simulate and print one row of the table."""
    found = rates(kind, loss, n, scores, seeds, pairs, careless=careless)
    heads = "solved" if seeds is None else f"trained, {seeds} seed{'s' * (seeds > 1)}"
    heads += ", taken for solved" * careless
    lost, what = (f"{found.drop:.3f}", "power") if loss else ("none", "false alarms")
    print(
        f"| {METRICS[kind]} | {n} | {heads} | {scores} | {lost} | {found.alarms:.1%} "
        f"| {found.untold:.1%} | {found.calls:.1%} | {what} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
