"""Fine-tuning carried through: train for every target and seed, predict, keep what was trained."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

from tape_bench.cards import Target
from tape_bench.embedding.embeddings import Embeddings
from tape_bench.models.embedder import Trainable
from tape_bench.progress import Progress
from tape_bench.protocols import kept
from tape_bench.protocols.finetune import resume, trained
from tape_bench.protocols.finetune.checkpointing import recompute_blocks
from tape_bench.protocols.finetune.plan import FinetunePlan
from tape_bench.protocols.finetune.train import Training
from tape_bench.protocols.interface import Assignment, Predicted

SECONDS_BETWEEN = 60.0
"""How often it is written down where training stands."""


def fit(
    plan: FinetunePlan, task: Assignment, embeddings: Embeddings, progress: Progress
) -> Predicted:
    """Train for every target and seed, and predict the validation and test splits."""
    found = Predicted(seconds={"train": 0.0, "predict": 0.0})
    for target in plan.card.targets:
        learnt_from = [plan.card.split_of("train"), plan.card.split_of("valid")]
        lacking = [name for name in learnt_from if not task.examples[name].has(target.name)]
        if lacking:
            found.absent[target.name] = f"the {lacking[0]} records carry no {target.field}"
            continue
        for seed in plan.seeds:
            folder = _folder(task.work, target, seed)
            done = kept.recall(task, plan.card.kind, target.name, seed, found)
            if not done or (plan.save and not (folder / trained.ABOUT).is_file()):
                _train(plan, task, embeddings, target, seed, progress, found)
            if plan.save:
                found.folders[folder.name] = folder
    return found


def _train(
    plan: FinetunePlan,
    task: Assignment,
    embeddings: Embeddings,
    target: Target,
    seed: int,
    progress: Progress,
    found: Predicted,
) -> None:
    model = cast(Trainable, embeddings.model)
    started = time.perf_counter()
    phase = (
        f"train {target.name}, seed {seed}"
        if len(plan.card.targets) > 1
        else (f"train, seed {seed}")
    )
    progress.advance(phase, 0, 0, "steps")
    training = Training(
        plan,
        target,
        task.examples[plan.card.split_of("train")],
        task.examples[plan.card.split_of("valid")],
        model.to_train(),
        seed,
        task.window,
    )
    if plan.checkpointing:
        recompute_blocks(training.scorer.network)
    key = [task.run_key, target.name, seed]
    place = task.work / f"{target.name}-{seed}.training.json"
    resume.recall(training, key, place)
    written = time.monotonic()

    def keep() -> None:
        nonlocal written
        ended = training.account.step % training.steps_an_epoch == 0
        now = time.monotonic()
        if ended or now - written > SECONDS_BETWEEN:
            resume.keep(training, key, place)
            written = time.monotonic()

    training.run(lambda done, total, how: progress.advance(phase, done, total, "steps", how), keep)
    account = training.account
    if account.step < training.steps:
        progress.close(
            f"stopped early: best epoch {account.best_epoch} of {len(account.history)}, at most "
            f"{plan.recipe.epochs}"
        )
    found.seconds["train"] += time.perf_counter() - started
    started = time.perf_counter()
    predictions = {
        name: training.predict(split)
        for name, split in task.examples.items()
        if split.role != "train" and split.has(target.name)
    }
    found.seconds["predict"] += time.perf_counter() - started
    if plan.save:
        trained.write(training, model.identity, task.run_key, _folder(task.work, target, seed))
    found.residues += training.account.residues
    for name, one in predictions.items():
        found.predictions.setdefault((target.name, name), {})[seed] = one
    found.selected[f"{target.name}/{seed}"] = training.selected
    kept.keep(task, target.name, seed, predictions, training.selected)
    for left in place.parent.glob(f"{place.stem}*"):
        left.unlink(missing_ok=True)


def _folder(work: Path, target: Target, seed: int) -> Path:
    return work / f"{target.name}-{seed}"
