"""Folding a chain in space: a compact, self-avoiding walk that knows helices and strands."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.simulated.biology import COIL, SS3_OF_SS8, Floats, Ints

STEP = 3.8
"""Angstrom between C-alpha atoms of neighbouring residues."""
CLOSEST = 4.0
"""Angstrom that two other residues keep at least."""
CONTACT = 8.0
"""Angstrom within which two residues touch."""
SEPARATION = 6
"""Steps along the chain from which on touching counts as a contact."""

_CANDIDATES = 100
_REDRAWS = 10
_RADIUS_PER_CONTACT = 0.15
"""Angstrom of growth that a new contact makes up for."""

# Least and most degrees of bend from step to step, and of twist around the step before, for
# helix, strand and coil: those of C-alpha traces.
_TURNS = np.array(
    [
        [[87.0, 91.0], [48.0, 52.0]],
        [[54.0, 58.0], [-172.0, -168.0]],
        [[55.0, 90.0], [0.0, 360.0]],
    ]
)


def fold(rng: np.random.Generator, ss8: Ints) -> Floats:
    """Fold a chain of known secondary structure into a compact globule.

    Each loop with the helix or strand after it is drawn many times; of the candidates that
    clash with nothing, the one that keeps the globule smallest and touches most is taken.

    Args:
        rng: source of chance.
        ss8: states of the residues, `[residues]`.

    Returns:
        C-alpha coordinates in Angstrom, `[residues, 3]`, to a thousandth.
    """
    ss3 = SS3_OF_SS8[ss8]
    starts = np.flatnonzero((ss3[1:] == COIL) & (ss3[:-1] != COIL)) + 1
    blocks = np.split(ss3, starts)
    while True:
        coordinates = _grow(rng, blocks)
        if coordinates is not None:
            return np.round(coordinates, 3)


def _grow(rng: np.random.Generator, blocks: list[Ints]) -> Floats | None:
    """Lay block after block; None where the chain has walked into a corner."""
    placed = np.zeros((1, 3))
    frame = np.eye(3)
    for number, block in enumerate(blocks):
        # The walk begins with a residue already in place.
        states = block[1:] if number == 0 else block
        for _ in range(_REDRAWS):
            candidates, frames = _candidates(rng, states, placed[-1], frame)
            clashes, contacts = _crowding(placed, candidates)
            if not clashes.all():
                break
        else:
            return None
        looseness = _radius(placed, candidates) - _RADIUS_PER_CONTACT * contacts
        best = int(np.argmin(np.where(clashes, np.inf, looseness)))
        placed = np.concatenate([placed, candidates[best]])
        frame = frames[best]
    return placed


def _candidates(
    rng: np.random.Generator, ss3: Ints, start: Floats, frame: Floats
) -> tuple[Floats, Floats]:
    """Walk on from a place in many ways: coordinates `[candidates, residues, 3]`, last frames."""
    shape = (_CANDIDATES, len(ss3))
    least, most = _TURNS[ss3, :, 0].T, _TURNS[ss3, :, 1].T
    bend = least[0] + (most[0] - least[0]) * rng.random(shape)
    twist = least[1] + (most[1] - least[1]) * rng.random(shape)
    turns = _rotations(np.radians(bend), np.radians(twist))
    frames = np.broadcast_to(frame, (_CANDIDATES, 3, 3))
    steps = []
    for residue in range(len(ss3)):
        frames = np.einsum("cij,cjk->cik", frames, turns[:, residue])
        steps.append(STEP * frames[:, :, 0])
    return start + np.cumsum(np.stack(steps, axis=1), axis=1), frames


def _rotations(bend: Floats, twist: Floats) -> Floats:
    """Return rotations that twist around the last step, then bend away from it, `[..., 3, 3]`."""
    cb, sb, ct, st = np.cos(bend), np.sin(bend), np.cos(twist), np.sin(twist)
    zero = np.zeros_like(cb)
    rows = [[cb, -sb, zero], [ct * sb, ct * cb, -st], [st * sb, st * cb, ct]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _crowding(placed: Floats, candidates: Floats) -> tuple[NDArray[np.bool_], Ints]:
    """Say which candidates clash, and how many contacts each makes, `[candidates]` both."""
    count, length = candidates.shape[:2]
    before = np.broadcast_to(placed, (count, *placed.shape))
    whole = np.concatenate([before, candidates], axis=1)
    squares = [(candidates[:, :, None, k] - whole[:, None, :, k]) ** 2 for k in range(3)]
    apart = squares[0] + squares[1] + squares[2]
    here = len(placed) + np.arange(length)[:, None]
    separation = np.abs(here - np.arange(len(placed) + length))
    clashes = ((apart < CLOSEST**2) & (separation > 1)).any(axis=(1, 2))
    contacts = ((apart < CONTACT**2) & (separation >= SEPARATION)).sum(axis=(1, 2))
    return clashes, contacts


def _radius(placed: Floats, candidates: Floats) -> Floats:
    """Return the radius of gyration of the chain with each candidate, `[candidates]`."""
    residues = len(placed) + candidates.shape[1]
    centre = (placed.sum(axis=0) + candidates.sum(axis=1)) / residues
    square = (placed**2).sum() + (candidates**2).sum(axis=(1, 2))
    return np.asarray(np.sqrt(square / residues - (centre**2).sum(axis=1)))
