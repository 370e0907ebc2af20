"""Simulated mini-protein designs: as stable as their residues agree with the blueprint."""

from __future__ import annotations

import numpy as np

from tape_bench.data.simulated.biology import (
    RESIDUES,
    SS8,
    Floats,
    Ints,
    Splits,
    draw,
    preference,
    record,
)
from tape_bench.data.simulated.elements import burial_pattern

_BLUEPRINTS = {
    "HHH": "CC" + "H" * 12 + "TTC" + "H" * 11 + "CTT" + "H" * 11 + "C",
    "EHEE": "C" + "E" * 6 + "CTTC" + "H" * 13 + "TTC" + "E" * 5 + "TT" + "E" * 5 + "C",
    "HEEH": "CC" + "H" * 11 + "TTC" + "E" * 5 + "TT" + "E" * 5 + "CTT" + "H" * 11 + "C",
    "EEHEE": "C" + "E" * 5 + "TT" + "E" * 5 + "CTC" + "H" * 13 + "CTT" + "E" * 5 + "TT" + "E" * 6,
}
_DESIGNS = {"train": 380, "valid": 75}
"""Designs of each topology."""
_DESIGN_QUALITY = (0.0, 1.4)
"""How strictly a design follows its blueprint, from not at all."""
_PARENT_QUALITIES = (0.4, 0.6, 0.8, 1.0, 1.2)
_MUTANTS = 40

_UNSTABLE, _STABLE = -0.3, 2.1
"""Least and greatest stability score that the simulated protease assay can tell apart."""
_MIDPOINT, _WIDTH = 0.5, 0.12
"""Agreement with the blueprint, a residue, at which a design is half way, and how sharply."""
_NOISE = 0.06


def simulate(rng: np.random.Generator) -> Splits:
    """Simulate designs with `stability_score`, float32 `[1]`, `topology` and `parent`.

    Train is broad: many designs. Test is deep: single mutants of a few designs unseen in train.
    """
    splits: Splits = {"train": [], "valid": [], "test": []}
    for topology, blueprint in _BLUEPRINTS.items():
        ss8 = np.array([SS8.index(state) for state in blueprint])
        fit = preference(ss8, burial_pattern(rng, ss8))
        for split, designs in _DESIGNS.items():
            qualities = _DESIGN_QUALITY[0] + np.ptp(_DESIGN_QUALITY) * rng.random(designs)
            for number, quality in enumerate(qualities):
                name = f"{topology}_{split}_{number:04d}"
                residues = draw(rng, quality * fit)
                splits[split].append(
                    record(name, residues, **_measure(rng, fit, residues, topology, name))
                )
        for number, quality in enumerate(_PARENT_QUALITIES):
            name = f"{topology}_parent_{number}"
            for mutation, residues in _neighbours(rng, draw(rng, quality * fit)).items():
                measured = _measure(rng, fit, residues, topology, name)
                splits["test"].append(record(f"{name}_{mutation}", residues, **measured))
    return splits


def _measure(
    rng: np.random.Generator, fit: Floats, residues: Ints, topology: str, parent: str
) -> dict[str, object]:
    """Score a design by its mean agreement with the blueprint, as a noisy, bounded assay would."""
    agreement = fit[np.arange(len(residues)), residues].mean()
    folded = 1.0 / (1.0 + np.exp((_MIDPOINT - agreement) / _WIDTH))
    score = _UNSTABLE + (_STABLE - _UNSTABLE) * folded + _NOISE * rng.standard_normal()
    return {
        "stability_score": np.array([round(score, 2)], np.float32),
        "topology": topology.encode(),
        "parent": parent.encode(),
    }


def _neighbours(rng: np.random.Generator, parent: Ints) -> dict[str, Ints]:
    """Draw single mutants of a design, by the name of the mutation, e.g. `A12V`."""
    mutants: dict[str, Ints] = {}
    while len(mutants) < _MUTANTS:
        place = int(rng.integers(len(parent)))
        mutant = parent.copy()
        mutant[place] = (parent[place] + rng.integers(1, len(RESIDUES))) % len(RESIDUES)
        mutants[f"{RESIDUES[parent[place]]}{place + 1}{RESIDUES[mutant[place]]}"] = mutant
    return mutants
