"""Simulated secondary structure: residues drawn from the state and burial of their place."""

from __future__ import annotations

import numpy as np

from tape_bench.data.simulated.biology import SS3_OF_SS8, Splits, draw, preference, record
from tape_bench.data.simulated.elements import architecture, burial_pattern

_PROTEINS = {"train": 400, "valid": 100, "cb513": 150, "ts115": 60, "casp12": 21}
_LENGTHS = (40, 150)
_HELIX_SHARES = (0.9, 0.1, 0.5)
"""Mostly helical proteins, mostly strands, both."""


def simulate(rng: np.random.Generator) -> Splits:
    """Simulate proteins with `ss3` and `ss8` states, int32 `[residues]`."""
    splits: Splits = {}
    for split, proteins in _PROTEINS.items():
        splits[split] = []
        for number in range(proteins):
            length = int(rng.integers(_LENGTHS[0], _LENGTHS[1] + 1))
            ss8 = architecture(rng, length, _HELIX_SHARES[rng.integers(len(_HELIX_SHARES))])
            residues = draw(rng, preference(ss8, burial_pattern(rng, ss8)))
            splits[split].append(
                record(
                    f"sample-ss-{split}-{number}",
                    residues,
                    ss3=SS3_OF_SS8[ss8].astype(np.int32),
                    ss8=ss8.astype(np.int32),
                )
            )
    return splits
