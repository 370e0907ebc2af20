"""Simulated evolution: folds diverge into superfamilies, families and their members."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tape_bench.data.simulated.biology import (
    COIL,
    FREQUENCY,
    SS3_OF_SS8,
    Floats,
    Ints,
    Splits,
    draw,
    preference,
    record,
)
from tape_bench.data.simulated.elements import architecture, burial_pattern

_FOLDS = 24
_FOLD_CLASSES = 1195
_SUPERFAMILIES = 4
_FAMILIES = 4
_LENGTHS = (50, 110)
_HELIX_SHARES = (0.95, 0.05, 0.5)
"""Structural classes: all-alpha, all-beta, both."""

# Spread of the log odds of a residue at one place, and in the whole protein.
_SUPERFAMILY_DRIFT = (1.2, 0.25)
_FAMILY_DRIFT = (0.8, 0.2)
_USAGE_OF_FOLD = 0.2

_CONSERVATION = 1.3
"""How much more strictly an ancestor follows the profile than its substitutions do."""
_SUBSTITUTED = 0.55
_INSERTED_OR_DELETED = 0.03
_LOOP_INSERTED_OR_DELETED = 0.2


@dataclass(frozen=True)
class _Profile:
    """What a group of related proteins has at each place."""

    ss8: Ints
    log_odds: Floats
    """Over residue frequencies, `[residues, 20]`."""


def simulate(rng: np.random.Generator) -> Splits:
    """Simulate proteins with `fold_label` (and class, superfamily and family), all int.

    The superfamilies of the fold holdout, and the families of the superfamily holdout, have
    no member in train; the family holdout has new members of known families.
    """
    splits: Splits = {
        "train": [],
        "valid": [],
        "test_fold_holdout": [],
        "test_superfamily_holdout": [],
        "test_family_holdout": [],
    }
    for (fold, superfamily, family), profile in _families(rng):
        ancestor = draw(rng, _CONSERVATION * profile.log_odds)
        superfamily_label = fold * _SUPERFAMILIES + superfamily
        for split, members in _members(superfamily, family).items():
            splits[split] += [
                record(
                    f"sample-rh-{split}-{fold}.{superfamily}.{family}.{member}",
                    _descendant(rng, profile, ancestor),
                    class_label=fold % len(_HELIX_SHARES),
                    # A few folds, but as far apart as TAPE's labels go.
                    fold_label=fold * (_FOLD_CLASSES - 1) // (_FOLDS - 1),
                    superfamily_label=superfamily_label,
                    family_label=superfamily_label * _FAMILIES + family,
                )
                for member in range(members)
            ]
    return splits


def _families(rng: np.random.Generator) -> Iterator[tuple[tuple[int, int, int], _Profile]]:
    """Draw the tree: fold, superfamily and family number, and the family's profile."""
    for fold in range(_FOLDS):
        fold_profile = _draw_fold(rng, _HELIX_SHARES[fold % len(_HELIX_SHARES)])
        for superfamily in range(_SUPERFAMILIES):
            superfamily_profile = _diverge(rng, fold_profile, *_SUPERFAMILY_DRIFT)
            for family in range(_FAMILIES):
                profile = _diverge(rng, superfamily_profile, *_FAMILY_DRIFT)
                yield (fold, superfamily, family), profile


def _members(superfamily: int, family: int) -> dict[str, int]:
    """Say how many members of a family each split gets."""
    if superfamily == _SUPERFAMILIES - 1:
        return {"test_fold_holdout": 2}
    if family == _FAMILIES - 1:
        return {"test_superfamily_holdout": 3}
    return {"train": 4, "valid": 1, "test_family_holdout": 1}


def _draw_fold(rng: np.random.Generator, helix_share: float) -> _Profile:
    ss8 = architecture(rng, int(rng.integers(_LENGTHS[0], _LENGTHS[1] + 1)), helix_share)
    usage = _USAGE_OF_FOLD * rng.standard_normal(len(FREQUENCY))
    return _Profile(ss8, preference(ss8, burial_pattern(rng, ss8)) + usage)


def _diverge(rng: np.random.Generator, parent: _Profile, drift: float, usage: float) -> _Profile:
    """Let a group's preferences drift, place by place and as a whole; its loops change length."""
    in_loop = SS3_OF_SS8[parent.ss8] == COIL
    kept = _inserted_and_deleted(rng, np.where(in_loop, _LOOP_INSERTED_OR_DELETED, 0.0))
    log_odds = parent.log_odds[kept]
    log_odds = log_odds + drift * rng.standard_normal(log_odds.shape)
    return _Profile(parent.ss8[kept], log_odds + usage * rng.standard_normal(len(FREQUENCY)))


def _descendant(rng: np.random.Generator, profile: _Profile, ancestor: Ints) -> Ints:
    """Substitute, insert and delete residues of an ancestor as its family allows."""
    substituted = rng.random(len(ancestor)) < _SUBSTITUTED
    residues = np.where(substituted, draw(rng, profile.log_odds), ancestor)
    return residues[_inserted_and_deleted(rng, np.full(len(residues), _INSERTED_OR_DELETED))]


def _inserted_and_deleted(rng: np.random.Generator, odds: Floats) -> Ints:
    """Return the places kept: half of the changed ones are dropped, half stand twice."""
    chance = rng.random(len(odds))
    return np.repeat(np.arange(len(odds)), 1 - (chance < odds / 2) + (chance > 1 - odds / 2))
