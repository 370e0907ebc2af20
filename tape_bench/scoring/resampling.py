"""Bootstrap draws of proteins, many at once, on all cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from tape_bench.scoring.sample import Sample, Weights

_CELLS = 1 << 17
"""Weights drawn at once: few enough for the processor's cache, enough to keep numpy busy."""


def bootstrap(samples: Sequence[Sample], draws: int, seed: int) -> NDArray[np.float64]:
    """Draw proteins with replacement, and compute every sample's figure on the same draws.

    Args:
        samples: One metric on the same proteins in the same order, of several predictions.
        draws: Number of draws.
        seed: Seed; the result does not depend on the number of cores.

    Returns:
        Figures `[draws, samples]`, NaN where undefined.
    """
    n = samples[0].n
    assert all(np.array_equal(sample.proteins, samples[0].proteins) for sample in samples)
    size = max(1, min(draws, _CELLS // n))
    starts = range(0, draws, size)
    # Each chunk has its own stream, so that threads cannot change what is drawn.
    streams = np.random.SeedSequence(seed).spawn(len(starts))

    def chunk(start: int, stream: np.random.SeedSequence) -> NDArray[np.float64]:
        weights = draw(np.random.default_rng(stream), min(size, draws - start), n)
        return np.asarray(type(samples[0]).drawn_together(samples, weights), np.float64)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return np.concatenate(list(pool.map(chunk, starts, streams)))


def draw(random: np.random.Generator, draws: int, n: int) -> Weights:
    """Draw n proteins out of n with replacement: how often each came, `[draws, n]`."""
    chosen = random.integers(0, n, size=(draws, n), dtype=np.int64)
    chosen += n * np.arange(draws)[:, None]
    return np.bincount(chosen.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float32)
