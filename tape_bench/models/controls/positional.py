"""Positional: which letter stands at which place; what the mutations alone say about a variant."""

from __future__ import annotations

from dataclasses import dataclass

from tape_bench.data.vocabulary import LETTERS
from tape_bench.models.controls.onehot import OneHot, control_identity, refuse_argument


@dataclass(frozen=True)
class Positional(OneHot):
    """The one-hot of every position, side by side, for ridge regression.

    It makes sense where sequences are variants of a design or a parent, so that a position
    means the same in each: fluorescence and stability.
    """


def load(argument: str | None = None, *, device: str | None = None) -> Positional:
    """Return the positional control; nothing to compute, so any device will do."""
    refuse_argument("positional", argument)
    return Positional(
        control_identity(
            "positional",
            hidden_size=len(LETTERS),
            kinds=("sequence_value",),
            only_head="aligned_ridge",
        )
    )
