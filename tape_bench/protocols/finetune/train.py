"""The loop: proteins step by step, a look at valid after each epoch, the best weights kept.

What a step does follows from the seed, its number and the weights alone: proteins come in an order
that the seed and the epoch give, and random numbers are begun anew in every launch. So training
that was stopped anywhere and goes on ends with the same weights.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from torch import Tensor

from tape_bench.cards import Target
from tape_bench.data.examples import Split
from tape_bench.embedding.forward import out_of_memory
from tape_bench.errors import ModelError
from tape_bench.heads.fit import seeded
from tape_bench.models.trainable import TrainableNetwork
from tape_bench.parallel.team import Team
from tape_bench.protocols.finetune import moves
from tape_bench.protocols.finetune.material import Material, Scale
from tape_bench.protocols.finetune.plan import FinetunePlan
from tape_bench.protocols.finetune.schedule import factor, number, shuffled
from tape_bench.protocols.finetune.scorer import Scorer, values_of
from tape_bench.protocols.truth import beside_truth
from tape_bench.scoring.metrics import find, score
from tape_bench.scoring.predictions import Predictions, items_per_example

ALONE = Team()

TOKENS = {"cpu": 4_096, "cuda": 16_384}
"""Tokens of one launch, by kind of device; a step of more is several launches."""

Hear = Callable[[int, int, str], None]
"""Called with steps done and in all, and how it goes."""


@dataclass
class Account:
    """Where training stands, beside the weights."""

    step: int = 0
    """Steps done."""
    summed: float = 0.0
    """Loss of this epoch so far."""
    items: int = 0
    """Items of this epoch so far."""
    residues: int = 0
    """Residues read in training so far."""
    history: list[list[float]] = field(default_factory=list)
    """By epoch: training loss, validation loss, and the main metric on valid (NaN: undefined)."""
    best: float = math.inf
    """Lowest value on valid so far, of what is selected by."""
    best_epoch: int = 0
    """From 1; 0: none yet."""
    waited: int = 0
    """Epochs since."""
    scaling: dict[str, Any] = field(default_factory=dict)
    """Where the factor on the loss in float16 stands."""
    over: bool = False
    """Whether training has ended."""


class Training:
    """One model with one head, trained for one target from one seed."""

    def __init__(
        self,
        plan: FinetunePlan,
        target: Target,
        train: Split,
        valid: Split,
        network: TrainableNetwork,
        seed: int,
        window: int | None = None,
        team: Team = ALONE,
    ) -> None:
        """Draw the head, and what is added to the encoder.

        Args:
            plan: what `plan` decided.
            target: what to predict.
            train: what is learnt from.
            valid: what the epoch is chosen by.
            network: the encoder, a copy of its own, on its device.
            seed: decides the head, the order of proteins, and dropout.
            window: see `Assignment`.
            team: the processes that train together; every one of them does the same.
        """
        recipe, card = plan.recipe, plan.card
        self.plan, self.target, self.seed, self.recipe = plan, target, seed, recipe
        self.team = team
        self.device = next(network.parameters()).device
        scales = card.kind == "sequence_value" and recipe.standardise
        self.scale = Scale.of(train, target) if scales else Scale()
        self.train = Material(train, target, self.scale, self.device, recipe.crop)
        self.valid = Material(valid, target, self.scale, self.device)
        with seeded(number(seed, "weights"), self.device):
            self.scorer = Scorer(
                network,
                card.kind,
                recipe.head,
                plan.pool,
                target.classes or 1,
                dropout=recipe.dropout,
                window=window,
            )
            moves.choose(network, recipe)
        if card.kind == "residue_pair":
            labels = [self.train.truth(row) for row in range(min(len(train), 100))]
            self.scorer.start_at(
                sum(int((one == 1).sum()) for one in labels)
                / max(sum(int((one >= 0).sum()) for one in labels), 1)
            )
        kind = torch.optim.AdamW if recipe.optimiser == "adamw" else torch.optim.Adam
        self.optimiser = kind(moves.groups(self.scorer, recipe), eps=recipe.epsilon)
        half = recipe.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, init_scale=4096.0, enabled=half)
        self.account = Account()
        self.best: dict[str, Tensor] = {}
        self.tokens = plan.tokens or TOKENS[self.device.type]
        self.looked_at = 2 * self.tokens
        """Tokens of one launch where no gradient is asked for."""
        self.steps_an_epoch = math.ceil(len(train) / recipe.batch)
        self.steps = self.steps_an_epoch * recipe.epochs

    def moved(self) -> dict[str, Tensor]:
        """Return what is trained, by name, and what a head keeps count of."""
        found: dict[str, Tensor] = {
            name: weight for name, weight in self.scorer.named_parameters() if weight.requires_grad
        }
        kept = self.scorer.head.named_buffers(prefix="head")
        return found | dict(kept)

    def run(self, hear: Hear, keep: Callable[[], None]) -> None:
        """Train to the end, or from where it stopped; the best weights are in place then.

        Args:
            hear: hears of progress.
            keep: called after every step; may write down where it stands.

        Raises:
            ModelError: a loss that is not finite, or too little memory for one protein.
        """
        account = self.account
        while not account.over:
            epoch, place = divmod(account.step, self.steps_an_epoch)
            order = shuffled(self.seed, epoch, len(self.train), self.recipe.batch)
            self._step(order[place].tolist())
            if account.step % self.steps_an_epoch == 0:
                hear(account.step - 1, self.steps, "looking at valid")
                self._end_epoch()
            hear(account.step, self.steps, self._how())
            keep()
        with torch.no_grad():
            for name, weight in self.moved().items():
                weight.copy_(self.best[name])

    @torch.no_grad()
    def predict(self, split: Split) -> Predictions:
        """Predict a split with the weights as they are."""
        return self._predicted(Material(split, self.target, self.scale, self.device))[0]

    @property
    def selected(self) -> dict[str, JsonValue]:
        """What was chosen on valid, and how training went."""
        account = self.account
        weights = [w for w in self.scorer.parameters() if w.requires_grad]
        train, valid, metric = account.history[account.best_epoch - 1]
        return {
            "epoch": account.best_epoch,
            "train_loss": train,
            "valid_loss": valid,
            "valid_metric": None if math.isnan(metric) else metric,
            "steps": account.step,
            "residues": account.residues,
            "parameters_moved": sum(weight.numel() for weight in weights),
            "history": [
                [None if math.isnan(value) else value for value in row] for row in account.history
            ],
        }

    def _step(self, rows: Sequence[int]) -> None:
        while True:
            summed, items, fits = 0.0, 0, True
            try:
                summed, items = self._gradients(rows)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                fits = False
            # Out of the handler, whose traceback would keep what failed alive; and where one
            # process has too little memory, all must do the same.
            summed, short = self.team.total(summed, float(not fits))
            if not short:
                break
            self._halve(rows)
        account = self.account
        if not math.isfinite(summed):
            raise ModelError(
                f"training became unstable: the loss of step {account.step + 1} is {summed}",
                where=f"{self.target.name}, seed {self.seed}",
                fix="choose a lower learning_rate, a longer warmup, or precision float32",
            )
        if items:
            self.team.add_up(self._all_gradients())
            now = factor(self.recipe, account.step, self.steps)
            for group in self.optimiser.param_groups:
                group["lr"] = group["rate"] * now
            self.scaler.unscale_(self.optimiser)
            if self.recipe.clip is not None:
                held = [
                    weight for group in self.optimiser.param_groups for weight in group["params"]
                ]
                torch.nn.utils.clip_grad_norm_(held, self.recipe.clip)
            self.scaler.step(self.optimiser)
            self.scaler.update()
        account.residues += sum(len(self.train.sequence(row)) for row in rows)
        account.step += 1
        account.summed, account.items = account.summed + summed, account.items + items

    def _all_gradients(self) -> list[Tensor]:
        """Return the gradients of all that is trained, zero where this process had no part."""
        found = []
        for group in self.optimiser.param_groups:
            for weight in group["params"]:
                if self.team.size > 1 and weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
                found += [] if weight.grad is None else [weight.grad]
        return found

    def _gradients(self, rows: Sequence[int]) -> tuple[float, int]:
        """Add up the gradients of a step's mean loss, launch by launch; return the sum."""
        self.scorer.train()
        self.optimiser.zero_grad()
        launches = self.train.launches(rows, self.scorer.network, self.tokens)
        items = sum(self.train.items(row) for row in rows)
        summed = 0.0
        for place, launch in enumerate(launches):
            if place % self.team.size != self.team.rank:
                continue
            sequences, truth, count = self.train.taken(launch)
            if not count:
                continue
            with seeded(number(self.seed, "step", self.account.step, place), self.device):
                with self._arithmetic():
                    loss = self.scorer.loss(sequences, truth)[0]
                self.scaler.scale(loss / items).backward()
            summed += float(loss.detach())
        return summed, items

    def _halve(self, rows: Sequence[int]) -> None:
        self.optimiser.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        most = max(len(self.train.sequence(row)) for row in rows)
        if self.tokens <= most + self.scorer.network.special_tokens:
            raise ModelError(
                f"the memory does not hold the training of a protein of {most} residues",
                fix="set crop, checkpointing=true, or moves=lora",
            )
        self.tokens //= 2
        warnings.warn(
            f"out of memory: steps go on in launches of {self.tokens} tokens, half as many, whose "
            "gradients are added up",
            stacklevel=4,
        )

    def _arithmetic(self) -> AbstractContextManager[Any]:
        if self.recipe.precision == "float32":
            return nullcontext()
        dtype = torch.bfloat16 if self.recipe.precision == "bfloat16" else torch.float16
        return torch.autocast(self.device.type, dtype)

    @torch.no_grad()
    def _end_epoch(self) -> None:
        account, card = self.account, self.plan.card
        predictions, valid_loss = self._predicted(self.valid)
        train_loss = account.summed / account.items if account.items else math.nan
        account.summed, account.items = 0.0, 0
        own = [metric for metric in card.metrics if metric.target == self.target.name]
        shown = next((metric for metric in own if metric.id == card.primary), own[0])
        value = score(shown.definition, predictions).value
        account.history.append([train_loss, valid_loss, math.nan if value is None else value])
        if not math.isfinite(valid_loss):
            raise ModelError(
                f"training became unstable: the validation loss is {valid_loss}",
                where=f"{self.target.name}, seed {self.seed}, epoch {len(account.history)}",
                fix="choose a lower learning_rate, a longer warmup, or precision float32",
            )
        judged = valid_loss
        if self.recipe.select == "metric" and value is not None:
            judged = -value if find(shown.definition, card.kind).higher_is_better else value
        account.waited += 1
        if judged < account.best or not self.best:
            account.best, account.best_epoch, account.waited = judged, len(account.history), 0
            self.best = {name: w.detach().clone() for name, w in self.moved().items()}
        patience = self.recipe.patience
        account.over = account.step >= self.steps or account.waited == patience

    @torch.no_grad()
    def _predicted(self, material: Material) -> tuple[Predictions, float]:
        """Predict a split, and return the mean loss over its items."""
        self.scorer.eval()
        kind = self.plan.card.kind
        found: list[Any] = [None] * len(material)
        summed, items = 0.0, 0
        launches = material.launches(range(len(material)), self.scorer.network, self.looked_at)
        waiting = launches[self.team.rank :: self.team.size]
        while waiting:
            launch = waiting.pop(0)
            sequences, truth, count = material.taken(launch)
            try:
                with self._arithmetic():
                    scores = self.scorer(sequences)
                loss = float(self.scorer.loss_of(scores, truth))
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or len(launch) == 1:
                    raise
                half = len(launch) // 2
                waiting[:0] = [launch[:half], launch[half:]]
                continue
            summed, items = summed + loss, items + count
            for row, values in zip(launch, values_of(kind, scores), strict=True):
                found[row] = values
        summed, counted = self.team.total(summed, items)
        values = self.team.whole(self._laid_out(material, found))
        if kind == "sequence_value":
            values = values * np.float32(self.scale.spread) + np.float32(self.scale.centre)
        return beside_truth(material.split, self.target, values), summed / max(counted, 1)

    def _laid_out(self, material: Material, found: list[Any]) -> NDArray[np.float32]:
        """Lay the values of all proteins end to end, zero where another process has them."""
        if self.team.size == 1:
            return np.concatenate(found)
        kind = self.plan.card.kind
        counts = items_per_example(kind, material.split.columns.lengths)
        classes = (self.target.classes,) if kind in ("token_class", "sequence_class") else ()
        whole = np.zeros((int(counts.sum()), *classes), np.float32)
        starts = np.cumsum(counts) - counts
        for row, values in enumerate(found):
            if values is not None:
                whole[starts[row] : starts[row] + counts[row]] = values
        return whole

    def _how(self) -> str:
        account = self.account
        if account.items:
            note = f"loss {account.summed / account.items:.4g}"
        else:
            note = f"loss {account.history[-1][0]:.4g}"
        if account.history:
            _, valid, metric = account.history[-1]
            note += f", on valid {valid:.4g} and {metric:.4g}"
        return note
