"""How a model is fine-tuned: every value that can change a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tape_bench.errors import UsageError
from tape_bench.models.embedder import Pool

Moves = Literal["all", "lora", "last", "head"]
"""What is trained beside the head: the whole encoder, low ranks added to it, its last block, or
nothing."""


@dataclass(frozen=True)
class Recipe:
    """How a model is fine-tuned; the defaults are ours, where a preset does not say otherwise."""

    head: str = "linear"
    pool: Pool | None = None
    """The card's if None."""
    moves: Moves = "all"
    frozen: int = 0
    """The embeddings and so many blocks stay as they are; 0: all of it moves."""
    optimiser: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = 1e-4
    head_learning_rate: float | None = None
    """The same as that of the encoder if None."""
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    """Not of biases and norms."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the rate goes to zero after the warm-up."""
    warmup: float = 0.05
    """Steps in which the rate grows from zero; a share of all steps if below 1."""
    batch: int = 32
    """Proteins a step."""
    epochs: int = 10
    patience: int | None = 3
    """Epochs in a row without a better value on valid after which training ends."""
    select: Literal["loss", "metric"] = "loss"
    """What is looked at on valid: the loss, or the task's main metric."""
    clip: float | None = 1.0
    """Most that the gradient's norm may be."""
    dropout: float = 0.0
    """Share of channels that the head does not see in training."""
    lora_rank: int = 8
    lora_alpha: float = 16.0
    lora_maps: tuple[str, ...] = ("query", "key", "value", "output")
    lora_dropout: float = 0.0
    crop: int | None = None
    """Residues of a protein that are trained on, from its start; all of them if None."""
    standardise: bool = True
    """Whether values are learnt in units of their deviation on train."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of matrix products; weights and sums are in float32."""

    def checked(self) -> Recipe:
        """Return the recipe itself, if it makes sense.

        Raises:
            UsageError: names the value that does not.
        """
        for name, least, above in (
            ("learning_rate", 0.0, True),
            ("batch", 1, False),
            ("epochs", 1, False),
            ("frozen", 0, False),
            ("warmup", 0.0, False),
            ("weight_decay", 0.0, False),
            ("lora_rank", 1, False),
            ("epsilon", 0.0, True),
            ("patience", 1, False),
            ("crop", 1, False),
            ("clip", 0.0, True),
            ("head_learning_rate", 0.0, False),
        ):
            value = getattr(self, name)
            if value is not None and not (value > least if above else value >= least):
                than = "above" if above else "at least"
                raise UsageError(f"{name} must be {than} {least}, not {value}")
        for name in ("dropout", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is a share from 0 to below 1, not {getattr(self, name)}")
        return self
