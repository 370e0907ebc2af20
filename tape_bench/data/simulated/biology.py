"""The twenty residues of the simulated world, and which of them like which surroundings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Record = dict[str, Any]
Splits = dict[str, list[Record]]

# Rounded by hand to the known trends: frequency in percent; hydrophobicity from -1 to 1; charge;
# liking for helix, strand and coil, 1 where indifferent.
_PROPERTIES = {
    "A": (8.0, 0.4, 0, 1.45, 0.80, 0.75),
    "C": (2.5, 0.6, 0, 0.75, 1.20, 1.10),
    "D": (5.5, -0.9, -1, 0.95, 0.50, 1.50),
    "E": (6.5, -0.8, -1, 1.50, 0.45, 0.90),
    "F": (4.0, 0.9, 0, 1.10, 1.40, 0.65),
    "G": (7.0, 0.0, 0, 0.55, 0.70, 1.60),
    "H": (2.3, -0.4, 0, 1.00, 0.90, 1.00),
    "I": (5.8, 1.0, 0, 1.05, 1.60, 0.50),
    "K": (6.0, -0.9, 1, 1.15, 0.75, 1.00),
    "L": (9.2, 0.9, 0, 1.35, 1.25, 0.55),
    "M": (2.2, 0.7, 0, 1.40, 1.05, 0.60),
    "N": (4.2, -0.7, 0, 0.70, 0.60, 1.50),
    "P": (4.5, -0.2, 0, 0.45, 0.45, 1.65),
    "Q": (4.0, -0.7, 0, 1.20, 1.00, 0.85),
    "R": (5.2, -0.8, 1, 1.15, 0.90, 0.95),
    "S": (6.5, -0.3, 0, 0.75, 0.80, 1.35),
    "T": (5.5, -0.1, 0, 0.80, 1.30, 1.05),
    "V": (6.8, 0.8, 0, 0.95, 1.75, 0.55),
    "W": (1.3, 0.6, 0, 1.05, 1.35, 0.75),
    "Y": (3.2, 0.3, 0, 0.75, 1.50, 0.85),
}
RESIDUES = "".join(_PROPERTIES)
_COLUMNS = np.array(list(_PROPERTIES.values()))
FREQUENCY: Floats = _COLUMNS[:, 0] / _COLUMNS[:, 0].sum()
HYDROPHOBICITY: Floats = _COLUMNS[:, 1]
CHARGE: Floats = _COLUMNS[:, 2]

SS8 = "GHIBESTC"
SS3_OF_SS8: Ints = np.array([0, 0, 0, 1, 1, 2, 2, 2])
"""Helix 0, strand 1, coil 2 for each of the eight states."""
HELIX, STRAND, COIL = 0, 1, 2

# What sets a rarer state apart from the common one of its kind.
_FAVOURED = {"G": "PESW", "I": "FWYN", "B": "TKRC", "S": "SGDK", "T": "GNPD"}


def _state_preferences() -> Floats:
    """Return the log of how much each state likes each residue, `[8, 20]`."""
    liking = _COLUMNS[:, 3:].T[SS3_OF_SS8]
    for state, residues in _FAVOURED.items():
        liking[SS8.index(state), [RESIDUES.index(residue) for residue in residues]] *= 1.8
    return np.asarray(np.log(liking))


_STATE_PREFERENCES = _state_preferences()


def _affinities() -> Floats:
    """Return how much residues like to touch: grease clusters, charges pair, cysteines bridge."""
    cysteine = np.array([float(residue == "C") for residue in RESIDUES])
    aromatic = np.array([float(residue in "FWY") for residue in RESIDUES])
    shared = ((0.45, HYDROPHOBICITY), (-0.9, CHARGE), (2.0, cysteine), (0.7, aromatic))
    return np.asarray(sum(weight * np.outer(trait, trait) for weight, trait in shared))


AFFINITY = _affinities()
"""Log odds of two residues to touch, over chance, `[20, 20]`, symmetric."""


def preference(ss8: Ints, burial: Floats) -> Floats:
    """Score each residue by how well it fits each place of a protein.

    Args:
        ss8: state of each place, `[residues]`.
        burial: from -1, in water, to 1, in the core, `[residues]`.

    Returns:
        Log odds over the residue's frequency, `[residues, 20]`.
    """
    fit = 1.5 * _STATE_PREFERENCES[ss8] + 1.1 * burial[:, None] * HYDROPHOBICITY
    return np.asarray(fit)


def draw(rng: np.random.Generator, log_odds: Floats) -> Ints:
    """Draw one residue a row, with odds `exp(log_odds)` times its frequency, `[rows]`."""
    weights = np.exp(log_odds) * FREQUENCY
    cumulative = np.cumsum(weights, axis=1)
    height = rng.random(len(weights)) * cumulative[:, -1]
    return np.asarray((cumulative[:, :-1] <= height[:, None]).sum(axis=1), np.int64)


def spell(residues: Ints) -> str:
    """Write residue numbers as one-letter codes."""
    return "".join(RESIDUES[residue] for residue in residues)


def record(name: str, residues: Ints, **fields: Any) -> Record:
    """Lay a protein out as TAPE does: sequence, length, id, and the fields of its task."""
    primary = spell(residues)
    return {"id": name, "primary": primary, "protein_length": len(primary), **fields}
