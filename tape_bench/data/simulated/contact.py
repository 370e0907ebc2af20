"""Simulated contacts: compact chains, and sequences whose touching residues suit each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.simulated.biology import Splits, record
from tape_bench.data.simulated.design import draw_sequences, draw_structure

_PROTEINS = {"train": 100, "valid": 20, "test": 40}
_LENGTHS = (40, 120)


def simulate(rng: np.random.Generator) -> Splits:
    """Simulate proteins with `tertiary`, float32 `[residues, 3]` in Angstrom, and `valid_mask`.

    Residues that the simulated experiment did not see are at the origin, as in ProteinNet.
    """
    lengths = rng.integers(_LENGTHS[0], _LENGTHS[1] + 1, sum(_PROTEINS.values()))
    structures = [draw_structure(rng, int(length), rng.random()) for length in lengths]
    sequences = draw_sequences(rng, structures)
    proteins = zip(structures, sequences, strict=True)
    splits: Splits = {}
    for split, count in _PROTEINS.items():
        splits[split] = []
        for number in range(count):
            structure, residues = next(proteins)
            seen = _seen(rng, len(residues))
            tertiary = np.where(seen[:, None], structure.coordinates, 0.0).astype(np.float32)
            name = f"sample-contact-{split}-{number}"
            splits[split].append(record(name, residues, tertiary=tertiary, valid_mask=seen))
    return splits


def _seen(rng: np.random.Generator, length: int) -> NDArray[np.bool_]:
    """Draw which residues have coordinates: in every third protein a few have none."""
    seen = np.ones(length, bool)
    if rng.random() < 1 / 3:
        first = int(rng.integers(length))
        seen[first : first + int(rng.integers(1, 6))] = False
    return seen
