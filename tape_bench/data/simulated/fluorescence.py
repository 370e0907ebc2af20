"""A simulated landscape around one fluorescent parent: bright until mutations unfold it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tape_bench.data.simulated.biology import (
    AFFINITY,
    RESIDUES,
    Floats,
    Ints,
    Splits,
    preference,
    record,
    spell,
)
from tape_bench.data.simulated.design import Structure, draw_sequences, draw_structure

_LENGTH = 80
_HELIX_SHARE = 0.2
_PARENT_TRIALS = 40
# Proteins, fewest and most mutations.
_PROTEINS = {"train": (1400, 1, 3), "valid": (300, 1, 3), "test": (800, 4, 8)}

_DARK, _BRIGHT = 1.3, 3.8
"""Log fluorescence of an unfolded and of a folded protein."""
_MARGIN = 2.8
"""Average mutations that the parent survives before half of it is unfolded."""
_STEEPNESS = 2.2
"""How suddenly it then unfolds, a mutation."""
_NOISE = 0.08


@dataclass(frozen=True)
class Landscape:
    """What every sequence of one length is worth in one fold."""

    fit: Floats
    """What each residue adds at each place, `[residues, 20]`."""
    touching: tuple[Ints, Ints]
    """First and second place of every pair in contact."""

    def stability(self, sequences: Ints) -> Floats:
        """Add up what residues do place by place, and pair by pair.

        Two residues in contact make each other's mutations matter: the landscape's epistasis.

        Args:
            sequences: residue numbers, `[sequences, residues]`.

        Returns:
            Stability up to a constant, `[sequences]`.
        """
        first, second = self.touching
        alone = self.fit[np.arange(len(self.fit)), sequences]
        pairs = AFFINITY[sequences[:, first], sequences[:, second]]
        return np.asarray(alone.sum(axis=1) + pairs.sum(axis=1))


def simulate(rng: np.random.Generator) -> Splits:
    """Simulate variants with `log_fluorescence`, float32 `[1]`, and `num_mutations`.

    Train has single to triple mutants; test goes further from the parent.
    """
    structure = draw_structure(rng, _LENGTH, _HELIX_SHARE)
    landscape = _draw_landscape(rng, structure)
    trials = np.stack(draw_sequences(rng, [structure] * _PARENT_TRIALS))
    parent = trials[int(np.argmax(landscape.stability(trials)))]
    known = {spell(parent)}
    variants = {
        split: _mutants(rng, parent, count, fewest, most, known)
        for split, (count, fewest, most) in _PROTEINS.items()
    }
    best = landscape.stability(parent[None])
    lost_in_train = best - landscape.stability(variants["train"])
    per_mutation = lost_in_train.sum() / (variants["train"] != parent).sum()
    splits: Splits = {}
    for split, sequences in variants.items():
        lost = (best - landscape.stability(sequences)) / per_mutation
        folded = 1.0 / (1.0 + np.exp(_STEEPNESS * (lost - _MARGIN)))
        noise = _NOISE * rng.standard_normal(len(sequences))
        brightness = np.round(_DARK + (_BRIGHT - _DARK) * folded + noise, 3)
        splits[split] = [
            record(
                f"sample-fl-{split}-{number}",
                sequence,
                log_fluorescence=brightness[[number]].astype(np.float32),
                num_mutations=int((sequence != parent).sum()),
            )
            for number, sequence in enumerate(sequences)
        ]
    return splits


def _draw_landscape(rng: np.random.Generator, structure: Structure) -> Landscape:
    """Draw how much each place matters: most hardly, some decisively, above all in the core."""
    importance = 2.0 * rng.random(len(structure.ss8)) ** 2 * (0.8 + 0.4 * structure.burial)
    likes = preference(structure.ss8, structure.burial)
    own = rng.standard_normal(likes.shape)
    first, second = np.nonzero(np.triu(structure.touching))
    return Landscape(importance[:, None] * (likes + own), (first, second))


def _mutants(
    rng: np.random.Generator, parent: Ints, count: int, fewest: int, most: int, known: set[str]
) -> Ints:
    """Draw variants that are not yet known, `[count, residues]`, and note them as known."""
    variants: list[Ints] = []
    while len(variants) < count:
        mutations = int(rng.integers(fewest, most + 1))
        places = np.argsort(rng.random(len(parent)))[:mutations]
        variant = parent.copy()
        variant[places] += rng.integers(1, len(RESIDUES), mutations)
        variant %= len(RESIDUES)
        if spell(variant) not in known:
            known.add(spell(variant))
            variants.append(variant)
    return np.stack(variants)
