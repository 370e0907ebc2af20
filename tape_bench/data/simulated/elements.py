"""Secondary structure as elements: which states follow each other, and for how long."""

from __future__ import annotations

import numpy as np

from tape_bench.data.simulated.biology import HELIX, SS3_OF_SS8, SS8, STRAND, Floats, Ints

# State, odds within its kind, shortest and longest element.
_HELICES = (("H", 0.80, 6, 18), ("G", 0.16, 3, 5), ("I", 0.04, 5, 7))
_STRANDS = (("E", 0.88, 4, 9), ("B", 0.12, 1, 2))
_LOOPS = (("C", 0.45, 1, 4), ("T", 0.30, 2, 3), ("S", 0.25, 1, 3))
_Kinds = tuple[tuple[str, float, int, int], ...]


def _segment(rng: np.random.Generator, kinds: _Kinds) -> list[int]:
    """Draw one element of one of the kinds, as states of its residues."""
    bounds = np.cumsum([odds for _, odds, _, _ in kinds])
    state, _, shortest, longest = kinds[int((bounds[:-1] <= rng.random()).sum())]
    return [SS8.index(state)] * int(rng.integers(shortest, longest + 1))


def architecture(rng: np.random.Generator, length: int, helix_share: float) -> Ints:
    """Draw the states of a protein: loops, with helices and strands between them.

    Args:
        rng: source of chance.
        length: number of residues.
        helix_share: fraction of helices among helices and strands.

    Returns:
        States 0 to 7, `[length]`.
    """
    states: list[int] = []
    while len(states) < length:
        for _ in range(int(rng.integers(1, 4))):
            states += _segment(rng, _LOOPS)
        states += _segment(rng, _HELICES if rng.random() < helix_share else _STRANDS)
    return np.array(states[:length])


def burial_pattern(rng: np.random.Generator, ss8: Ints) -> Floats:
    """Draw which side of each helix and strand faces the core; loops mostly face water.

    Returns:
        Burial from -1 to 1, `[residues]`: every 3.6th residue of a helix and every second of
        a strand points the same way.
    """
    turn = np.select([SS3_OF_SS8[ss8] == HELIX, SS3_OF_SS8[ss8] == STRAND], [100.0, 180.0], 0.0)
    begins = np.flatnonzero(np.diff(turn, prepend=-1.0))
    lengths = np.diff(begins, append=len(turn))
    phase = np.repeat(np.floor(rng.random(len(begins)) * 2) * 180.0, lengths)
    place = np.arange(len(turn)) - np.repeat(begins, lengths)
    return np.where(turn > 0, np.cos(np.radians(phase + turn * place)), -0.5)
