"""Contact precision: of the pairs predicted most confidently, how many touch.

All ranges and cut-offs come from one pass over each protein. Pairs predicted equally share the
last places evenly: the score is the expectation over all orders of the tied pairs, so that it
depends neither on how a sort happens to run nor, for a model that predicts the same everywhere,
on where in the chain the contacts lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench.scoring.contacts import separations
from tape_bench.scoring.predictions import Predictions
from tape_bench.scoring.statistic import Rows, Statistic, left_out_by, ratio

BANDS: dict[str, tuple[int, int | None]] = {
    "short": (6, 11),
    "medium": (12, 23),
    "long": (24, None),
}
"""Separations along the chain that share no pair, first and last."""

RANGES: dict[str, tuple[str, ...]] = {
    "ge6": ("short", "medium", "long"),
    "short": ("short",),
    "medium": ("medium",),
    "long": ("long",),
    "medlong": ("medium", "long"),
}
"""Ranges that scores are given for, and the bands they are made of."""

CUTOFFS: dict[str, int] = {"L": 1, "L/2": 2, "L/5": 5}
"""Pairs taken: the protein's length over this, rounded down."""


@dataclass(frozen=True)
class Hits:
    """What the most confident valid pairs of each protein are worth."""

    valid: dict[str, NDArray[np.int64]]
    """By range: pairs that can be scored, `[examples]`."""
    hits: dict[tuple[str, str], NDArray[np.float64]]
    """By range and cut-off: contacts among the pairs taken, `[examples]`."""
    both_triangles: NDArray[np.float64]
    """Contacts among the L/5 most confident entries of the whole matrix, `[examples]`."""


def precision_by_protein(predictions: Predictions, range_: str, cut: str) -> Statistic:
    """Share of contacts among the most confident valid pairs, averaged over proteins."""
    counted = predictions.derived(count_hits)
    wanted = predictions.lengths // CUTOFFS[cut]
    proteins, left_out = left_out_by(
        {
            f"fewer than {CUTOFFS[cut]} residues": wanted == 0,
            f"no valid pair in range {range_}": counted.valid[range_] == 0,
        }
    )
    taken = np.minimum(wanted, counted.valid[range_])[proteins]
    precision = counted.hits[range_, cut][proteins] / taken
    rows = np.stack([precision, np.ones_like(precision)], axis=1)
    return Statistic(proteins, rows, ratio, left_out)


def count_hits(predictions: Predictions) -> Hits:
    """Count the contacts among the most confident pairs, for every protein, range and cut-off."""
    examples = len(predictions.ids)
    counted = Hits(
        {name: np.zeros(examples, dtype=np.int64) for name in RANGES},
        {(name, cut): np.zeros(examples) for name in RANGES for cut in CUTOFFS},
        np.zeros(examples),
    )
    offsets = predictions.offsets
    for example, residues in enumerate(predictions.lengths.tolist()):
        items = slice(offsets[example], offsets[example + 1])
        bands = _bands(residues, predictions.values[items], predictions.targets[items])
        for name, made_of in RANGES.items():
            ranking = _Ranking([bands[band] for band in made_of])
            counted.valid[name][example] = sum(bands[band].valid for band in made_of)
            for cut, parts in CUTOFFS.items():
                counted.hits[name, cut][example] = ranking.expected_hits(residues // parts)
            if name == "ge6":
                # The matrix holds every pair twice; of an odd number, the last stands alone.
                halves = residues // 5 // 2, (residues // 5 + 1) // 2
                counted.both_triangles[example] = sum(map(ranking.expected_hits, halves))
    return counted


@dataclass(frozen=True)
class _Band:
    """Valid pairs of one band that a cut-off can reach: the L most confident, and their ties."""

    valid: int
    """All valid pairs of the band."""
    probability: Rows
    contact: NDArray[np.bool_]


def _bands(residues: int, probability: Rows, label: NDArray[np.number[Any]]) -> dict[str, _Band]:
    apart = separations(residues)
    bands = {}
    for name, (first, last) in BANDS.items():
        pairs = np.flatnonzero((label != -1) & (apart >= first) & (apart <= (last or residues)))
        valid, within_reach = len(pairs), probability[pairs]
        if valid > residues:
            least = np.partition(within_reach, -residues)[-residues]
            pairs, within_reach = pairs[within_reach >= least], within_reach[within_reach >= least]
        bands[name] = _Band(valid, within_reach, label[pairs] == 1)
    return bands


class _Ranking:
    """Pairs by falling probability."""

    def __init__(self, bands: Sequence[_Band]) -> None:
        # Negated, because sorting and searching go upwards.
        negated = -np.concatenate([band.probability for band in bands])
        order = np.argsort(negated)
        contact = np.concatenate([band.contact for band in bands])
        self._negated = negated[order]
        self._contacts = np.concatenate([[0], np.cumsum(contact[order])])

    def expected_hits(self, k: int) -> float:
        """Return the contacts among the k most confident pairs (all, where there are fewer)."""
        k = min(k, len(self._negated))
        if k == 0:
            return 0.0
        last = self._negated[k - 1]
        begin = np.searchsorted(self._negated, last, side="left")
        end = np.searchsorted(self._negated, last, side="right")
        surely, perhaps = self._contacts[begin], self._contacts[end] - self._contacts[begin]
        return float(surely + perhaps * (k - begin) / (end - begin))
