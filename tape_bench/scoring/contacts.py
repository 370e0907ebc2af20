"""Contacts between residues: from coordinates to labels of pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.scorable import SMALLEST_SEPARATION

CONTACT_DISTANCE = 8.0
"""Angstrom between C-alpha atoms; residues strictly closer are in contact, as in TAPE."""


def contact_labels(coordinates: NDArray[np.float64]) -> NDArray[np.int8]:
    """Say which residues of a protein touch.

    Distances are taken in float64: in float32, pairs near 8 Angstrom change sides.

    Args:
        coordinates: C-alpha positions in Angstrom `[residues, 3]`, NaN where not resolved.

    Returns:
        `[residues, residues]`: 1 contact, 0 none, -1 not to be scored (a residue without
        coordinates, or fewer than six positions apart).
    """
    # scipy takes longer to start than planning a run, which never needs labels.
    from scipy.spatial.distance import cdist

    labels = (cdist(coordinates, coordinates) < CONTACT_DISTANCE).astype(np.int8)
    # Comparisons with NaN are false: residues without coordinates must be told from far ones.
    unresolved = np.isnan(coordinates).any(axis=1)
    labels[unresolved] = -1
    labels[:, unresolved] = -1
    for apart in range(SMALLEST_SEPARATION):
        np.fill_diagonal(labels[apart:], -1)
        np.fill_diagonal(labels[:, apart:], -1)
    return labels


def pair_labels(coordinates: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return the labels of the pairs that `Predictions` hold, `[pairs]`, upper triangle by rows."""
    labels = contact_labels(coordinates)
    return labels[np.triu(np.ones(labels.shape, dtype=bool), SMALLEST_SEPARATION)]


def separations(residues: int) -> NDArray[np.int64]:
    """Return how far apart along the chain the two residues of each such pair are, `[pairs]`."""
    row_lengths = np.arange(residues - SMALLEST_SEPARATION, 0, -1)
    before = np.cumsum(row_lengths) - row_lengths
    pairs = np.arange(row_lengths.sum())
    return pairs - np.repeat(before, row_lengths) + SMALLEST_SEPARATION
