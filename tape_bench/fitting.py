"""From examples to predictions: represent every distinct sequence once, train every head.

A head that has been trained is kept at once in the run's work folder, so that an interrupted
run goes on from there. Its account, which is written last, carries the digest of its predictions
and names the run, the target and the seed: anything else is not believed, and trained again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

from tape_bench import memo, registry
from tape_bench.data.examples import Split
from tape_bench.engine.embed import Representations
from tape_bench.engine.library import Library, Need, Shelf
from tape_bench.models.embedder import Representation
from tape_bench.plan import RunPlan
from tape_bench.results import store
from tape_bench.scoring import archive
from tape_bench.scoring.predictions import Predictions
from tape_bench.storage import replace
from tape_bench.watch import Watch


@dataclass
class Fitted:
    """Predictions by target and split, then seed; and how they came about."""

    predictions: dict[tuple[str, str], dict[int, Predictions]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Targets that could not be trained, with the reason."""
    selected: dict[str, Any] = field(default_factory=dict)
    """What was chosen on the validation split, by `target/seed`."""
    seconds: dict[str, float] = field(default_factory=lambda: {"represent": 0.0, "fit": 0.0})
    residues: int = 0
    """Residues represented in this run."""

    def in_order(self) -> Fitted:
        """Return the same in an order that does not tell which heads an earlier run left."""
        predictions = {
            key: dict(sorted(by_seed.items())) for key, by_seed in sorted(self.predictions.items())
        }
        selected = dict(sorted(self.selected.items()))
        return replace_fields(self, predictions=predictions, selected=selected)


def fit(plan: RunPlan, examples: Mapping[str, Split], library: Library, watch: Watch) -> Fitted:
    """Train a head for every target and seed, and predict the validation and test splits."""
    fitted = Fitted()
    train, valid = plan.card.split_of("train"), plan.card.split_of("valid")
    work = store.work_path(plan.path)
    waiting: list[tuple[str, int]] = []
    for target in plan.card.targets:
        lacking = [name for name in (train, valid) if not examples[name].has(target.name)]
        if lacking:
            fitted.absent[target.name] = f"the {lacking[0]} records carry no {target.field}"
            continue
        for seed in plan.seeds:
            if not _resume(work, plan, target.name, seed, fitted):
                waiting.append((target.name, seed))
    if not waiting:
        return fitted.in_order()
    with _represent(plan, examples, library, watch, fitted) as representations:
        started = time.perf_counter()
        for target_name, seed in waiting:
            _train(plan, examples, representations, target_name, seed, watch, work, fitted)
        fitted.seconds["fit"] = time.perf_counter() - started
    return fitted.in_order()


def need(plan: RunPlan, examples: Mapping[str, Split]) -> Need:
    """Say what a task reads: every distinct sequence of its splits."""
    sequences = dict.fromkeys(s for split in examples.values() for s in split.sequences)
    window = plan.longest if plan.policy == "window" else None
    return Need(tuple(sequences), plan.steps.pool, window)


def _represent(
    plan: RunPlan, examples: Mapping[str, Split], library: Library, watch: Watch, fitted: Fitted
) -> Shelf | Representations:
    started = time.perf_counter()
    needed = need(plan, examples)
    fitted.residues = sum(map(len, needed.sequences))
    representations = library.open(
        needed, lambda done, total: watch.progress("represent", done, total, "residues")
    )
    fitted.seconds["represent"] = time.perf_counter() - started
    return representations


def _train(
    plan: RunPlan,
    examples: Mapping[str, Split],
    representations: Mapping[str, Representation],
    target_name: str,
    seed: int,
    watch: Watch,
    work: Path,
    fitted: Fitted,
) -> None:
    target = plan.card.target(target_name)
    carrying = {name: split for name, split in examples.items() if split.has(target_name)}
    trains = plan.steps.seed_matters
    which = f" {target_name}" if len(plan.card.targets) > 1 else ""
    phase = f"train{which}, seed {seed}" if trains else f"solve{which}"
    unit = "epochs" if trains else "penalties"
    done, at_most = 0, 0
    # The first epoch may take long.
    watch.progress(phase, done, at_most, unit)

    def heard(so_far: int, most: int, loss: float) -> None:
        nonlocal done, at_most
        done, at_most = so_far, most
        watch.progress(phase, so_far, most, unit, f"validation loss {loss:.4g}")

    trained = registry.protocol(plan.settings.protocol).train(
        plan.steps, target, carrying, representations, seed, progress=heard
    )
    if trains and done < at_most:
        best = f"best epoch {trained.selected['epoch']} of " if "epoch" in trained.selected else ""
        watch.close(f"stopped early: {best}{done}, at most {at_most}")
    for name, predictions in trained.predictions.items():
        assert set(predictions.ids) == set(carrying[name].ids), "every example, and no other"
        fitted.predictions.setdefault((target_name, name), {})[seed] = predictions
    fitted.selected[f"{target_name}/{seed}"] = trained.selected
    kept = {(target_name, name): {seed: p} for name, p in trained.predictions.items()}
    predictions_file, account = _kept_at(work, target_name, seed)
    replace(predictions_file, lambda temporary: archive.save(temporary, kept))
    # The account comes last: a head counts as kept only once both files are whole.
    memo.write(
        account,
        {
            "head": [plan.run_key, target_name, seed],
            "predictions": store.file_digest(predictions_file),
            "selected": trained.selected,
        },
    )


def _resume(work: Path, plan: RunPlan, target_name: str, seed: int, fitted: Fitted) -> bool:
    """Take in a head that an interrupted run has left, if it is whole and of this run."""
    predictions_file, account = _kept_at(work, target_name, seed)
    told = memo.read(account)
    if told is None or told.get("head") != [plan.run_key, target_name, seed]:
        return False
    if memo.attempt(lambda: store.file_digest(predictions_file)) != told.get("predictions"):
        return False
    found = memo.attempt(lambda: archive.load(predictions_file, plan.card.kind))
    if found is None:
        return False
    fitted.selected[f"{target_name}/{seed}"] = told["selected"]
    for key, by_seed in found.items():
        fitted.predictions.setdefault(key, {}).update(by_seed)
    return True


def _kept_at(work: Path, target_name: str, seed: int) -> tuple[Path, Path]:
    """Return where the predictions of a head are kept, and the account of it."""
    return work / f"{target_name}-{seed}.npz", work / f"{target_name}-{seed}.json"
