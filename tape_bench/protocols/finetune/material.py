"""What a split teaches: its proteins, and the truth about each when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from tape_bench.cards import Target
from tape_bench.data.examples import Split
from tape_bench.models.packing import pack
from tape_bench.models.trainable import TrainableNetwork
from tape_bench.protocols.finetune.scorer import items_of, truth_of


@dataclass(frozen=True)
class Scale:
    """Values in units that training is in, and back."""

    centre: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, split: Split, target: Target) -> Scale:
        """Take the mean and deviation of a split's values."""
        values = [example.targets[target.name] for example in split]
        return cls(float(np.mean(values)), float(np.std(values)) or 1.0)


@dataclass(frozen=True)
class Material:
    """A split as training reads it."""

    split: Split
    target: Target
    scale: Scale
    device: torch.device
    longest: int | None = None
    """Residues read of each protein, from its start."""
    _items: dict[int, int] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.split)

    def sequence(self, row: int) -> str:
        """Return a protein, as far as it is read."""
        return self.split.sequences[row][: self.longest]

    def truth(self, row: int) -> Tensor:
        """Return what is known of a protein, as far as it is read."""
        kind = self.split.card.kind
        known = self.split[row].targets[self.target.name]
        if kind in ("token_class", "residue_pair"):
            known = known[: self.longest]
        if kind == "sequence_value":
            known = (known - self.scale.centre) / self.scale.spread
        return truth_of(kind, known)

    def items(self, row: int) -> int:
        """Return how many items of a protein count."""
        if self.split.card.kind in ("sequence_class", "sequence_value"):
            return 1
        if row not in self._items:
            self._items[row] = items_of(self.split.card.kind, self.truth(row))
        return self._items[row]

    def taken(self, rows: Sequence[int]) -> tuple[list[str], list[Tensor], int]:
        """Return proteins, what is known of them on the device, and how many items count."""
        truth = [self.truth(row) for row in rows]
        items = sum(self.items(row) for row in rows)
        return [self.sequence(row) for row in rows], [t.to(self.device) for t in truth], items

    def launches(
        self, rows: Sequence[int], network: TrainableNetwork, tokens: int
    ) -> list[list[int]]:
        """Share proteins out into launches of at most so many tokens, longest first."""
        lengths = [len(self.sequence(row)) + network.special_tokens for row in rows]
        return [
            [rows[place] for place in places]
            for places in pack(lengths, tokens, padded=network.pads)
        ]
