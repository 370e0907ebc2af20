"""Finding sequences that fit given structures: the right residue at each place and in each pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.simulated.biology import AFFINITY, Floats, Ints, draw, preference
from tape_bench.data.simulated.chain import CONTACT, SEPARATION, fold
from tape_bench.data.simulated.elements import architecture

_SWEEPS = 5
_SURROUNDINGS = 10.0
"""Angstrom within which neighbours are counted, to tell core from surface."""


@dataclass(frozen=True)
class Structure:
    """A folded chain without its side chains."""

    ss8: Ints
    """State of each residue, `[residues]`."""
    coordinates: Floats
    """C-alpha places in Angstrom, `[residues, 3]`."""
    touching: NDArray[np.bool_]
    """Which residues, six or more apart in the chain, are within 8 Angstrom, `[residues] * 2`."""
    burial: Floats
    """From -1, on the surface, to 1, in the core, `[residues]`."""


def draw_structure(rng: np.random.Generator, length: int, helix_share: float) -> Structure:
    """Draw secondary structure and fold it."""
    ss8 = architecture(rng, length, helix_share)
    coordinates = fold(rng, ss8)
    distance = np.sqrt(((coordinates[:, None] - coordinates) ** 2).sum(axis=-1))
    places = np.arange(length)
    apart = np.abs(places[:, None] - places) >= SEPARATION
    crowd = (distance < _SURROUNDINGS).sum(axis=1)
    burial = np.clip((crowd - np.median(crowd)) / 6.0, -1.0, 1.0)
    return Structure(ss8, coordinates, (distance < CONTACT) & apart, burial)


def draw_sequences(rng: np.random.Generator, structures: Sequence[Structure]) -> list[Ints]:
    """Draw one sequence a structure by Gibbs sampling, all structures side by side.

    The odds of a residue are its preference for the place times its affinity for every
    residue that the place touches.

    Returns:
        Residue numbers, `[residues]` each.
    """
    lengths = np.array([len(structure.ss8) for structure in structures])
    longest = int(lengths.max())
    odds = np.zeros((len(structures), longest, len(AFFINITY)))
    touching = np.zeros((longest, len(structures), longest), bool)
    for number, structure in enumerate(structures):
        length = lengths[number]
        odds[number, :length] = preference(structure.ss8, structure.burial)
        touching[:length, number, :length] = structure.touching
    residues = np.stack([draw(rng, odds[:, place]) for place in range(longest)], axis=1)
    contacts = [np.nonzero(touching_place) for touching_place in touching]
    for _ in range(_SWEEPS):
        for place, (protein, partner) in enumerate(contacts):
            pull = np.zeros((len(structures), len(AFFINITY)))
            np.add.at(pull, protein, AFFINITY[residues[protein, partner]])
            residues[:, place] = draw(rng, odds[:, place] + pull)
    return [sequence[:length] for sequence, length in zip(residues, lengths, strict=True)]
