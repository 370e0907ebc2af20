"""L-BFGS for convex functions that are known by their gradients only, several side by side.

Library routines judge a step by the value of the function, whose rounding in float32 hides the
last tenths of a percent of what there is to gain. Gradients show them: a step along a descent
direction of a convex function has gone too far only where the slope has turned.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MEMORY = 10
"""Steps that are remembered."""

TOO_FAR = 0.9
"""Share of the first slope that the slope behind a step may have, uphill."""


def lbfgs(
    gradient: Callable[[Array], Array], at: Array, slopes: Array, target: Array, most: int
) -> tuple[Array, Array, int]:
    """Minimise convex functions, each for itself, evaluated together.

    Args:
        gradient: gradients `[functions, unknowns]` at `[functions, unknowns]`.
        at: where to begin; scaled so that second derivatives are near 1.
        slopes: the gradients there.
        target: norms of the gradients that are small enough, `[functions]`.
        most: evaluations after which to stop in any case.

    Returns:
        Where the functions are least, the gradients there, and evaluations used.
    """
    past: deque[tuple[Array, Array, Array]] = deque(maxlen=MEMORY)
    used = 0
    while used < most and (norms(slopes) > target).any():
        direction = -_turned(slopes, past)
        descent = _dot(slopes, direction)
        step = np.ones((len(at), 1))
        while used < most:
            then = at + step * direction
            new = gradient(then)
            used += 1
            uphill = _dot(new, direction)
            far = uphill > TOO_FAR * np.abs(descent)
            if not far.any():
                break
            # Where the line through both slopes crosses zero.
            shorter = step * np.abs(descent) / (np.abs(descent) + np.abs(uphill))
            step = np.where(far, shorter, step)
        else:
            break
        moved, change = then - at, new - slopes
        curve = _dot(moved, change)
        # Where rounding has the last word, a step teaches nothing.
        past.append((moved, change, np.divide(1, curve, out=np.zeros_like(curve), where=curve > 0)))
        at, slopes = then, new
    return at, slopes, used


def norms(rows: Array) -> Array:
    """Return the length of each row, `[rows]`."""
    found: Array = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    return found


def _turned(slopes: Array, past: deque[tuple[Array, Array, Array]]) -> Array:
    """Apply the inverse of the second derivatives, as the past steps show them."""
    found = slopes.copy()
    shares = []
    for moved, change, inverse in reversed(past):
        share = inverse * _dot(moved, found)
        found -= share * change
        shares.append(share)
    if past:
        moved, change, inverse = past[-1]
        scale = _dot(moved, change) / np.maximum(_dot(change, change), np.finfo(float).tiny)
        found *= np.where(inverse > 0, scale, 1.0)
    for (moved, change, inverse), share in zip(past, reversed(shares), strict=True):
        found += moved * (share - inverse * _dot(change, found))
    return found


def _dot(one: Array, other: Array) -> Array:
    """Return the product of the rows, `[rows, 1]`."""
    found: Array = np.einsum("ij,ij->i", one, other)[:, None]
    return found
