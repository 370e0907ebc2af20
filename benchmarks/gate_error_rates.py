"""How often `tape-bench check --paired` raises a false alarm, and how often it sees a real loss.

    python benchmarks/gate_error_rates.py > benchmarks/gate_error_rates.md

Every pair is two runs on the same simulated proteins, with errors that are partly shared, as those
of two models are. Without a true difference an alarm is false; with one, the share of alarms is
the power. The gate runs at its defaults: tolerance 0, 95 % for all figures of a check together.
"""

from __future__ import annotations

import numpy as np

from tape_bench.report.compare import Change, measured
from tape_bench.report.gate import Exit, judge, level_of_each
from tape_bench.scoring.metrics import find
from tape_bench.scoring.predictions import Predictions

SHARED = 0.5
"""Correlation of the two models' errors."""


def alarms(
    kind: str, loss: float, n: int, figures: int, pairs: int, draws: int = 2000
) -> tuple[float, float]:
    """Return the share of checks with an alarm, and the mean drop of a figure.

    Args:
        kind: `sequence_value` (Spearman) or `token_class` (accuracy over residues).
        loss: how much more noise the new model has, as a share of the old one's.
        n: proteins in the test set.
        figures: figures in one check, each with its own proteins.
        pairs: checks simulated.
        draws: bootstrap draws.
    """
    raised, drops = 0, []
    for pair in range(pairs):
        random = np.random.default_rng([pair, n, figures])
        changes = [_change(_pair(kind, loss, n, random), figures, draws) for _ in range(figures)]
        drops += [-(change.difference or 0.0) for change in changes]
        outcomes = [judge(change, 0.0, paired=True)[0] for change in changes]
        raised += Exit.REGRESSION in outcomes
    return raised / pairs, float(np.mean(drops))


def _change(sides: tuple[Predictions, Predictions], figures: int, draws: int) -> Change:
    kind = sides[0].kind
    name = "spearman" if kind == "sequence_value" else "accuracy.pooled"
    before, after = (find(name, kind).sample(one).value() for one in sides)
    change = Change("task", f"x.{name}", name, "test", True, "old", "new", before, after)
    kept = {("x", "test"): [sides[0]]}, {("x", "test"): [sides[1]]}
    return measured(change, kept, kind, level_of_each(0.95, figures), draws)


def _pair(
    kind: str, loss: float, n: int, random: np.random.Generator
) -> tuple[Predictions, Predictions]:
    if kind == "sequence_value":
        truth = random.normal(size=n)
        return _noisy(random, truth, loss, lambda noise: truth + 0.7 * noise, np.full(n, 50))
    lengths = random.integers(50, 200, size=n)
    # Some proteins are harder than others: residues of one protein are not independent.
    hard = np.repeat(random.lognormal(sigma=0.4, size=n), lengths)[:, None]
    truth = random.integers(0, 3, size=lengths.sum())
    signal = np.eye(3)[truth]
    return _noisy(random, truth, loss, lambda noise: signal + 0.8 * hard * noise, lengths)


def _noisy(random, truth, loss, predict, lengths) -> tuple[Predictions, Predictions]:
    classes = truth.dtype.kind == "i"
    shape = (len(truth), 3) if classes else truth.shape
    common, own, other = random.normal(size=(3, *shape))
    ids = tuple(str(i) for i in range(len(lengths)))
    kind = "token_class" if classes else "sequence_value"
    noises = (
        np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own,
        (1 + loss) * (np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * other),
    )
    before, after = (
        Predictions(kind, ids, lengths, predict(noise).astype(np.float32), truth)
        for noise in noises
    )
    return before, after


def main() -> None:
    pairs = 200
    print(f"# Error rates of the gate, {pairs} simulated checks each\n")
    print("| metric | proteins | figures in a check | true loss | alarms | |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for kind, metric in (("sequence_value", "Spearman"), ("token_class", "accuracy, pooled")):
        for n, figures in ((100, 1), (100, 5), (500, 1)):
            for loss in (0.0, 0.02, 0.05, 0.1, 0.2):
                rate, drop = alarms(kind, loss, n, figures, pairs)
                lost, what = (f"{drop:.3f}", "power") if loss else ("none", "false alarms")
                print(f"| {metric} | {n} | {figures} | {lost} | {rate:.1%} | {what} |", flush=True)


if __name__ == "__main__":
    main()
