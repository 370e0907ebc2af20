"""Coordinates looked at before they are believed: is it an atom, is it in Angstrom.

Nature gives the yardstick: neighbouring C-alpha atoms of a chain are 3.8 Angstrom apart, and no
two atoms are in one place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tape_bench.errors import DataError

STEP = 3.8
"""Angstrom between the C-alpha atoms of neighbouring residues (2.9 across a cis bond)."""

_STEPS = (2.5, 5.0)
"""Angstrom between which the median step of a chain is taken for one of C-alpha atoms: 3.79 to
3.84 in structures of the PDB. C-beta atoms are 5.3 apart or more."""

_FEWEST_STEPS = 10
"""Steps below which a median says nothing."""

_UNITS = {"nanometres": 10.0, "picometres": 0.01, "Bohr radii": 0.529177}
"""Units coordinates are also given in, and how many Angstrom one of them has."""


def believed(
    places: NDArray[np.float32], valid: NDArray[np.bool_], where: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Tell atoms from what stands in for them, and make sure of the unit.

    Whoever writes down a residue without an atom has to write something: zeros, NaN, -999, the
    place of the residue before. It gives itself away: several residues share that place, or it
    lies outside the chain. Such residues are taken for what they are.

    Args:
        places: what the record says of each residue, `[residues, 3]`.
        valid: where it says that this is an atom's place, `[residues]`.
        where: file and record, for messages.

    Returns:
        Places with NaN rows where there is no atom, `[residues, 3]`; and which residues were said
        to have one and have none, `[residues]`.

    Raises:
        DataError: numbers that are no places, a mask that is true for stand-ins alone, or
            neighbours that are not as far apart as C-alpha atoms are in Angstrom.
    """
    atoms = valid & ~np.isnan(places).all(axis=1)
    wrong = np.flatnonzero(atoms & ~np.isfinite(places).all(axis=1))
    if wrong.size:
        raise DataError(
            f"the coordinates of residue {wrong[0] + 1} are no finite numbers",
            where=where,
            fix="set valid_mask to false where a residue has no coordinates",
        )
    known = np.where(atoms[:, None], places.astype(np.float64), np.nan)
    known[_shared(known)] = np.nan
    known[_outside(known)] = np.nan
    atoms = ~np.isnan(known[:, 0])
    if valid.any() and not atoms.any() and _is_chain(places[~valid]):
        raise DataError(
            "valid_mask is the wrong way round: the residues it calls valid have no places of "
            "their own, and the others form a chain",
            where=where,
            fix="give valid_mask as true where a residue has coordinates",
        )
    _check_unit(known, where)
    return np.where(atoms[:, None], places, np.float32(np.nan)), valid & ~atoms


def _shared(known: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark residues that have their place in common with another one, `[residues]`."""
    order = np.lexsort(known.T)
    same = (known[order[1:]] == known[order[:-1]]).all(axis=1)
    marked = np.zeros(len(known), bool)
    marked[order[1:][same]] = True
    marked[order[:-1][same]] = True
    return marked


def _outside(known: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark residues whose place lies outside the chain, `[residues]`.

    It is out of reach of the atom before and the one after; and these are near each other, or it
    is one number three times, as in (0, 0, 0). So it is told where one residue alone has no atom.
    """
    marked = np.zeros(len(known), bool)
    rows = np.flatnonzero(~np.isnan(known[:, 0]))
    step = _median_step(known)[0]
    near = np.zeros(len(rows) + 1, bool)
    near[1:-1] = _distances(known[rows], 1) <= 2 * step * np.diff(rows)
    away = ~near[:-1] & ~near[1:]
    if np.isnan(step) or not away.any():
        return marked
    bridged = np.zeros(len(rows), bool)
    bridged[1:-1] = _distances(known[rows], 2) <= 1.1 * step * (rows[2:] - rows[:-2])
    alike = (known[rows, 0] == known[rows, 1]) & (known[rows, 1] == known[rows, 2])
    marked[rows[away & (bridged | alike)]] = True
    return marked


def _check_unit(known: NDArray[np.float64], where: str) -> None:
    step, measured = _median_step(known)
    if measured < _FEWEST_STEPS or _STEPS[0] <= step <= _STEPS[1]:
        return
    unit = next((unit for unit, has in _UNITS.items() if 0.9 <= step * has / STEP <= 1.1), None)
    raise DataError(
        f"neighbouring residues are {step:.3g} apart (median of {measured}); C-alpha atoms are "
        f"{STEP} Angstrom apart: these coordinates are {f'in {unit}, ' if unit else ''}not "
        "in Angstrom",
        where=where,
        fix=f"multiply the coordinates of the whole data set by {_UNITS[unit]:g}"
        if unit
        else "give the place of each residue's C-alpha atom, in Angstrom",
    )


def _is_chain(places: NDArray[np.float32]) -> bool:
    """Tell whether most of these residues, and not too few, have places of their own."""
    known = places[np.isfinite(places).all(axis=1)].astype(np.float64)
    own = int((~_shared(known)).sum())
    return own > max(_FEWEST_STEPS, len(places) / 2)


def _distances(known: NDArray[np.float64], apart: int) -> NDArray[np.float64]:
    """Return how far each residue is from the one so many on, `[residues - apart]`."""
    squares: NDArray[np.float64] = np.square(known[apart:] - known[:-apart]).sum(axis=1)
    return np.sqrt(squares)


def _median_step(known: NDArray[np.float64]) -> tuple[float, int]:
    """Return the median distance of neighbouring residues, NaN if there is none; and how many."""
    steps = _distances(known, 1)
    steps = steps[~np.isnan(steps)]
    return (float(np.median(steps)) if steps.size else np.nan), steps.size
