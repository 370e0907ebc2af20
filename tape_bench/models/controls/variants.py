"""Floors that need no model: what is known of a variant from its mutations alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.parents import places_changed
from tape_bench.models.controls.blosum62 import BLOSUM62
from tape_bench.models.controls.onehot import control_identity, refuse_argument
from tape_bench.models.embedder import Identity


@dataclass(frozen=True)
class Mutations:
    """Minus the number of substitutions; a `VariantScorer`."""

    identity: Identity

    def score_variants(self, parent: str, variants: Sequence[str]) -> NDArray[np.float32]:
        """Score variants of a parent; see `VariantScorer`."""
        changed = (places_changed(variant, parent) for variant in variants)
        return np.array([np.nan if c is None else -len(c) for c in changed], np.float32)


@dataclass(frozen=True)
class Blosum62:
    """BLOSUM62's score of a variant beside its parent, less the parent's; a `VariantScorer`."""

    identity: Identity

    def score_variants(self, parent: str, variants: Sequence[str]) -> NDArray[np.float32]:
        """Score variants of a parent; see `VariantScorer`."""
        scores = []
        for variant in variants:
            changed = places_changed(variant, parent)
            if changed is None:
                scores.append(np.nan)
            else:
                pairs = ((parent[place], variant[place]) for place in changed.tolist())
                scores.append(float(sum(_of(was, is_) - _of(was, was) for was, is_ in pairs)))
        return np.array(scores, np.float32)


_UNKNOWN = -4
"""Of a letter that the matrix has not."""


def _of(first: str, second: str) -> int:
    return BLOSUM62.get((first, second), _UNKNOWN)


def load_mutations(argument: str | None = None, *, device: str | None = None) -> Mutations:
    """Return the count of mutations as a model; nothing is computed, so any device will do."""
    refuse_argument("mutations", argument)
    return Mutations(control_identity("mutations", hidden_size=0, kinds=("sequence_value",)))


def load_blosum62(argument: str | None = None, *, device: str | None = None) -> Blosum62:
    """Return BLOSUM62 as a model; nothing is computed, so any device will do."""
    refuse_argument("blosum62", argument)
    return Blosum62(control_identity("blosum62", hidden_size=0, kinds=("sequence_value",)))
