"""Proteins to measure speed with: random residues, in the lengths that TAPE's proteins have.

Speed depends on lengths and hardly on letters, so no data need be at hand. The lengths are those
of the records that could be had: all of fluorescence (54,025) and stability (68,977), most of
remote homology (15,304 of 16,292) and of secondary structure (11,452 of 11,497). Of contact
prediction only 106 small domains could be had, which are unlike TAPE's 25,563 chains from the whole
PDB; secondary structure's lengths, of such chains too, stand for these. All five sets then have
28 million residues, which is what they are known to have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tape_bench import registry
from tape_bench.data.vocabulary import RESIDUES
from tape_bench.errors import unknown_name


@dataclass(frozen=True)
class Lengths:
    """How long the proteins of a data set are."""

    proteins: int
    """Records in all splits, as published."""
    quantiles: tuple[int, ...]
    """Residues of the protein in the middle of each 32nd of them, shortest first."""

    def spread(self, count: int) -> NDArray[np.int64]:
        """Return so many lengths, at even distances in the order of length, `[count]`."""
        ranks = (np.arange(count) + 0.5) / count
        known = (np.arange(len(self.quantiles)) + 0.5) / len(self.quantiles)
        return np.interp(ranks, known, self.quantiles).round().astype(np.int64)


# fmt: off
_CHAINS = (
    40, 70, 87, 99, 109, 119, 128, 137, 145, 153, 162, 171, 182, 192, 203, 214,
    226, 239, 252, 264, 278, 294, 309, 327, 344, 363, 387, 413, 447, 495, 571, 749,
)
SETS = {
    "contact": Lengths(25_299 + 224 + 40, _CHAINS),
    "fluorescence": Lengths(21_446 + 5_362 + 27_217, (236, *[237] * 31)),
    "remote_homology": Lengths(12_312 + 736 + 718 + 1_254 + 1_272, (
        32, 46, 58, 66, 73, 80, 85, 91, 96, 101, 106, 110, 114, 119, 123, 129,
        135, 143, 151, 159, 168, 178, 190, 204, 220, 237, 255, 275, 302, 331, 379, 490,
    )),
    "secondary_structure": Lengths(8_678 + 2_170 + 513 + 115 + 21, _CHAINS),
    "stability": Lengths(53_614 + 2_512 + 12_851, (*[43] * 22, 46, *[50] * 9)),
}
# fmt: on


def lengths(count: int, of: str = "tape") -> list[int]:
    """Return lengths that stand for a data set, the same ones every time.

    Args:
        count: how many.
        of: a data set, `tape` for all five, each with its share of the proteins, or a number
            of residues that all are to have.

    Returns:
        Residues of each protein, in random order.

    Raises:
        UsageError: no data set has this name.
    """
    if of.isdecimal() and int(of):
        return [int(of)] * count
    of = registry.TAPE_NAMES.get(of, of)
    if of not in ("tape", *SETS):
        raise unknown_name("data set", of, ["tape", *SETS, "a number of residues"])
    sets = list(SETS.values()) if of == "tape" else [SETS[of]]
    shares = _apportion(count, [one.proteins for one in sets])
    found = np.concatenate([one.spread(share) for one, share in zip(sets, shares, strict=True)])
    mixed: list[int] = np.random.default_rng(0).permutation(found).tolist()
    return mixed


def proteins(lengths: Sequence[int], seed: int = 0) -> list[str]:
    """Draw a random protein of each length."""
    letters = np.frombuffer(RESIDUES.encode(), np.uint8)
    drawn = np.random.default_rng(seed).choice(letters, sum(lengths)).tobytes().decode()
    ends = np.cumsum(lengths).tolist()
    return [drawn[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _apportion(count: int, sizes: Sequence[int]) -> list[int]:
    """Share a number out in proportion, by largest remainder."""
    exact = np.array(sizes) * count / sum(sizes)
    shares = exact.astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    found: list[int] = shares.tolist()
    return found
