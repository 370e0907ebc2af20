"""Fine-tuning carried through: train for every target and seed, predict, keep what was trained.

All that training leaves lies in the run's work folder: whoever trained, this process or several
that it started, the run goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tape_bench.cards import Target
from tape_bench.embedding.embeddings import Embeddings
from tape_bench.errors import ModelError, PeerLostError
from tape_bench.models.embedder import Embedder, Trainable
from tape_bench.parallel.team import Team
from tape_bench.progress import Progress
from tape_bench.protocols import kept
from tape_bench.protocols.finetune import resume, trained
from tape_bench.protocols.finetune.checkpointing import recompute_blocks
from tape_bench.protocols.finetune.plan import FinetunePlan
from tape_bench.protocols.finetune.train import Training
from tape_bench.protocols.interface import Assignment, Predicted

EARLY = "stopped early"

SECONDS_BETWEEN = 60.0
"""How often it is written down where training stands."""


@dataclass(frozen=True)
class Lesson:
    """One target, to be learnt from one seed."""

    plan: FinetunePlan
    task: Assignment
    target: Target
    seed: int

    @property
    def folder(self) -> Path:
        """Where the trained model is put."""
        return self.task.work / f"{self.target.name}-{self.seed}"

    @property
    def account(self) -> Path:
        """Where it stands how far training is."""
        return self.task.work / f"{self.target.name}-{self.seed}.training.json"


def fit(
    plan: FinetunePlan, task: Assignment, embeddings: Embeddings, progress: Progress
) -> Predicted:
    """Train for every target and seed, and predict the validation and test splits."""
    found = Predicted(seconds={"train": 0.0})
    executor = embeddings.session.executor
    for target in plan.card.targets:
        learnt_from = [plan.card.split_of("train"), plan.card.split_of("valid")]
        lacking = [name for name in learnt_from if not task.examples[name].has(target.name)]
        if lacking:
            found.absent[target.name] = f"the {lacking[0]} records carry no {target.field}"
            continue
        for seed in plan.seeds:
            lesson = Lesson(plan, task, target, seed)
            if not _recall(lesson, found):
                started = time.perf_counter()
                executor.together(f"{__name__}:take_part", lesson, _heard(lesson, progress))
                found.seconds["train"] += time.perf_counter() - started
                if not executor.leads:
                    continue
                if not _recall(lesson, found):
                    raise ModelError(
                        "what was trained is not where it was put",
                        where=str(task.work),
                        fix="see that nothing else works in this folder, and run again",
                    )
            if plan.save:
                found.folders[lesson.folder.name] = lesson.folder
    return found


def take_part(
    model: Embedder, lesson: Lesson, team: Team, hear: Callable[[int, int, str], None]
) -> None:
    """Train and predict, alone or as one of a team, whose first process keeps the results.

    Raises:
        ModelError: a loss that is not finite, too little memory, or a model that cannot be trained.
        StorageError: the disk is full.
        PeerLostError: another process is gone, or sees another work folder.
    """
    plan, task, target, seed = lesson.plan, lesson.task, lesson.target, lesson.seed
    hear(0, 0, "")
    training = Training(
        plan,
        target,
        task.examples[plan.card.split_of("train")],
        task.examples[plan.card.split_of("valid")],
        cast(Trainable, model).to_train(),
        seed,
        task.window,
        team,
    )
    if plan.checkpointing:
        recompute_blocks(training.scorer.network)
    key = [task.run_key, target.name, seed]
    resumed = resume.recall(training, key, lesson.account)
    (count,) = team.total(float(resumed))
    if count not in (0, team.size):
        raise PeerLostError(
            "not all processes see what was kept of this training",
            where=str(lesson.account),
            fix="give a results folder (--out) on a file system that they share",
        )
    written = time.monotonic()

    def keep() -> None:
        nonlocal written
        ended = training.account.step % training.steps_an_epoch == 0
        now = time.monotonic()
        if team.leads and (ended or now - written > SECONDS_BETWEEN):
            resume.keep(training, key, lesson.account)
            written = time.monotonic()

    training.run(hear, keep)
    done = training.account
    if done.step < training.steps:
        epochs = f"best epoch {done.best_epoch} of {len(done.history)}"
        hear(done.step, training.steps, f"{EARLY}: {epochs}, at most {plan.recipe.epochs}")
    predictions = {
        name: training.predict(split)
        for name, split in task.examples.items()
        if split.role != "train" and split.has(target.name)
    }
    if not team.leads:
        return
    if plan.save:
        trained.write(training, model.identity, task.run_key, lesson.folder)
    kept.keep(task, target.name, seed, predictions, training.selected)
    for left in lesson.account.parent.glob(f"{lesson.account.stem}*"):
        left.unlink(missing_ok=True)


def _recall(lesson: Lesson, found: Predicted) -> bool:
    """Take in what is there already of a lesson; tell whether it is all there."""
    if lesson.plan.save and not (lesson.folder / trained.ABOUT).is_file():
        return False
    name, kind = lesson.target.name, lesson.plan.card.kind
    if not kept.recall(lesson.task, kind, name, lesson.seed, found):
        return False
    chosen = found.selected[f"{name}/{lesson.seed}"]
    assert isinstance(chosen, dict)
    found.residues += cast(int, chosen["residues"])
    return True


def _heard(lesson: Lesson, progress: Progress) -> Callable[[int, int, str], None]:
    several = len(lesson.plan.card.targets) > 1
    phase = (
        f"train {lesson.target.name}, seed {lesson.seed}"
        if several
        else (f"train, seed {lesson.seed}")
    )

    def hear(done: int, total: int, how: str) -> None:
        if how.startswith(EARLY):
            progress.close(how)
            return
        progress.advance(phase, done, total, "steps", how)

    return hear
