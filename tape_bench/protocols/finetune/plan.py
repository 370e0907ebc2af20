"""The protocol `finetune`: encoder and head are trained together, end to end.

The epoch with the best value on valid is kept; the test splits are predicted once, at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from pydantic import JsonValue

from tape_bench.cards import Kind, Role, TaskCard
from tape_bench.errors import unknown_name
from tape_bench.heads.catalogue import beside_encoder
from tape_bench.models.embedder import Identity, Pool, Trainable
from tape_bench.progress import Progress
from tape_bench.protocols.finetune.presets import PRESETS, values_of
from tape_bench.protocols.finetune.recipe import Moves, Recipe
from tape_bench.protocols.interface import Assignment, Predicted

if TYPE_CHECKING:
    from tape_bench.embedding.embeddings import Embeddings, Request

VERSION = "1"
"""Changes when the protocol changes in a way that can change a score."""

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Finetune:
    """The protocol; see the top of this file. Options override those of the preset."""

    preset: str | None = None
    """One of `presets.PRESETS`; our own recipe if None."""
    head: str | None = None
    pool: Pool | None = None
    moves: Moves | None = None
    frozen: int | None = None
    optimiser: Literal["adamw", "adam"] | None = None
    learning_rate: float | None = None
    head_learning_rate: float | None = None
    epsilon: float | None = None
    weight_decay: float | None = None
    schedule: Literal["constant", "linear", "cosine"] | None = None
    warmup: float | None = None
    batch: int | None = None
    epochs: int | None = None
    patience: int | None = None
    select: Literal["loss", "metric"] | None = None
    clip: float | None = None
    dropout: float | None = None
    lora_rank: int | None = None
    lora_alpha: float | None = None
    lora_maps: str | None = None
    """Separated by commas, e.g. `query,value`."""
    lora_dropout: float | None = None
    crop: int | None = None
    standardise: bool | None = None
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    tokens: int | None = None
    """Tokens of one launch: a step of more adds the gradients of several up."""
    checkpointing: bool = False
    """Compute blocks again on the way back instead of keeping what they made: a third more time,
    and a fraction of the memory."""
    save: bool = True
    """Keep the trained weights beside the record, where `finetuned:FOLDER` reads them."""

    requires: ClassVar[Sequence[type[object]]] = (Trainable,)
    kinds: ClassVar[Sequence[Kind]] = get_args(Kind)

    def roles(self, card: TaskCard) -> Sequence[Role]:
        """All: what is trained is chosen before it is tested."""
        return ("train", "valid", "test")

    def plan(
        self, card: TaskCard, identity: Identity, seeds: tuple[int, ...] | None
    ) -> FinetunePlan:
        """Decide every value of the recipe for a task.

        Raises:
            UsageError: no such preset or head, or a value that makes no sense.
        """
        values = {} if self.preset is None else values_of(self.preset, card)
        names = [field.name for field in fields(Recipe)]
        values |= {n: v for n in names if (v := getattr(self, n)) is not None}
        if self.lora_maps is not None:
            values["lora_maps"] = tuple(self.lora_maps.split(","))
        recipe = Recipe(**values).checked()
        known = beside_encoder(card.kind)
        if recipe.head not in known:
            raise unknown_name("head", recipe.head, known)
        source = "ours" if self.preset is None else PRESETS[self.preset].source
        return FinetunePlan(
            card,
            recipe,
            self.preset,
            source,
            recipe.pool or card.pool,
            seeds or SEEDS,
            self.tokens,
            self.checkpointing,
            self.save,
        )


@dataclass(frozen=True)
class FinetunePlan:
    """Fine-tuning decided."""

    card: TaskCard
    recipe: Recipe
    preset: str | None
    source: str
    pool: Pool
    seeds: tuple[int, ...]
    tokens: int | None = None
    checkpointing: bool = False
    save: bool = True
    version: ClassVar[str] = VERSION
    seed_matters: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    """All processes train one network, each on its part of every step."""

    @property
    def resolved(self) -> dict[str, JsonValue]:
        """Every choice that can change a score, for the record."""
        values: dict[str, JsonValue] = {**asdict(self.recipe), "pool": self.pool}
        if self.recipe.moves != "lora":
            values = {name: v for name, v in values.items() if not name.startswith("lora")}
        else:
            values["lora_maps"] = list(self.recipe.lora_maps)
        if self.card.kind != "sequence_value":
            del values["standardise"]
        moved = {
            "all": "encoder and head",
            "lora": "low ranks of the encoder, and head",
            "last": "the last block of the encoder, and head",
            "head": "head",
        }[self.recipe.moves]
        if self.recipe.frozen and self.recipe.moves in ("all", "lora"):
            moved += f"; embeddings and {self.recipe.frozen} blocks frozen"
        return {
            **values,
            "preset": self.preset,
            "source": self.source,
            "what_moved": moved,
            "tokens": self.tokens,
        }

    def needs(self, task: Assignment) -> list[Request]:
        """Ask for no representations: they change all the time."""
        return []

    def run(self, task: Assignment, embeddings: Embeddings, progress: Progress) -> Predicted:
        """Train for every target and seed, and predict the validation and test splits."""
        from tape_bench.protocols.finetune import fit

        return fit.fit(self, task, embeddings, progress)
