"""The probe carried through: represent every distinct sequence once, train every head.

What a head predicts is kept at once in the run's work folder, see `protocols.kept`, so that an
interrupted run goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace as replace_fields

from tape_bench.cards import Target
from tape_bench.embedding.embeddings import Embeddings
from tape_bench.models.embedder import Representation
from tape_bench.progress import Progress
from tape_bench.protocols import kept
from tape_bench.protocols.interface import Assignment, Predicted
from tape_bench.protocols.probe.plan import ProbePlan
from tape_bench.protocols.probe.train import train


def fit(plan: ProbePlan, task: Assignment, embeddings: Embeddings, progress: Progress) -> Predicted:
    """Train a head for every target and seed, and predict the validation and test splits."""
    found = Predicted(seconds={"represent": 0.0, "fit": 0.0})
    learnt_from = [plan.card.split_of("train"), plan.card.split_of("valid")]
    waiting: list[tuple[Target, int]] = []
    for target in plan.card.targets:
        lacking = [name for name in learnt_from if not task.examples[name].has(target.name)]
        if lacking:
            found.absent[target.name] = f"the {lacking[0]} records carry no {target.field}"
            continue
        for seed in plan.seeds:
            if not kept.recall(task, plan.card.kind, target.name, seed, found):
                waiting.append((target, seed))
    if not waiting:
        return _in_order(found)
    started = time.perf_counter()
    (needed,) = plan.needs(task)
    found.residues = sum(map(len, needed.sequences))
    opened = embeddings.open(
        needed, lambda done, total: progress.advance("represent", done, total, "residues")
    )
    found.seconds["represent"] = time.perf_counter() - started
    with opened as representations:
        started = time.perf_counter()
        for target, seed in waiting:
            _train(plan, task, embeddings.device, representations, target, seed, progress, found)
        found.seconds["fit"] = time.perf_counter() - started
    return _in_order(found)


def _in_order(found: Predicted) -> Predicted:
    """Return the same in an order that does not tell which heads an earlier run left."""
    predictions = {
        key: dict(sorted(by_seed.items())) for key, by_seed in sorted(found.predictions.items())
    }
    selected = dict(sorted(found.selected.items()))
    return replace_fields(found, predictions=predictions, selected=selected)


def _train(
    plan: ProbePlan,
    task: Assignment,
    device: str,
    representations: Mapping[str, Representation],
    target: Target,
    seed: int,
    progress: Progress,
    found: Predicted,
) -> None:
    carrying = {name: split for name, split in task.examples.items() if split.has(target.name)}
    trains = plan.seed_matters
    which = f" {target.name}" if len(plan.card.targets) > 1 else ""
    phase = f"train{which}, seed {seed}" if trains else f"solve{which}"
    unit = "epochs" if trains else "penalties"
    done, at_most = 0, 0
    # The first epoch may take long.
    progress.advance(phase, done, at_most, unit)

    def heard(so_far: int, most: int, loss: float) -> None:
        nonlocal done, at_most
        done, at_most = so_far, most
        progress.advance(phase, so_far, most, unit, f"validation loss {loss:.4g}")

    trained = train(plan, target, carrying, representations, seed, heard, device)
    if trains and done < at_most:
        best = f"best epoch {trained.selected['epoch']} of " if "epoch" in trained.selected else ""
        progress.close(f"stopped early: {best}{done}, at most {at_most}")
    for name, predictions in trained.predictions.items():
        found.predictions.setdefault((target.name, name), {})[seed] = predictions
    found.selected[f"{target.name}/{seed}"] = trained.selected
    kept.keep(task, target.name, seed, trained.predictions, trained.selected)
