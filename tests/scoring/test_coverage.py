"""The promise of a 95 % interval: that it holds the truth as often as it says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "interval_coverage.py"


def _script():
    spec = importlib.util.spec_from_file_location("interval_coverage", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


script = _script()
WORLDS = {f"{what}, {size}": world for what, size, world in script.worlds()}

MEASURED = [
    *(
        f"{what}, {n}"
        for n in (12, 20, 36)
        for what in ("mean squared error, normal errors", "P@L/5, true 0.1", "P@L/5, true 0.03",
                     "Q3, pooled", "Pearson, true 0.70")
    ),
    "Spearman, true 0.68, 20",
    "Spearman, true 0.68, 36",
    "Spearman, true 0.68, 500",
    "P@L/5, true 0.03, 500",
    "difference of two mean squared errors, 12",
    "difference of two mean squared errors, 36",
    "difference of two Spearman, 36",
    "Spearman, 17 clusters alike",
    "Spearman, 17 clusters unlike",
    "difference of two mean squared errors, 17 clusters unlike",
]  # fmt: skip

COARSE = [
    *(f"share of proteins, true {share}, {n}" for n in (12, 20, 36) for share in (0.02, 0.1, 0.3)),
    "share of proteins, true 0.02, 500",
    "Spearman, true 0.68, 12",
    "difference of two Spearman, 12",
    "difference of two Spearman, 17 clusters unlike",
]
"""Scores of few values, and few clusters unlike: what is never too narrow is sometimes wider than
needed."""


def measured(name):
    """Return the coverage, and its standard error in so many trials."""
    trials = 600 if "Spearman" in name or "clusters" in name or "500" in name else 2000
    found = script.coverage(WORLDS[name], trials, plain=False)
    return found.share, (0.95 * 0.05 / trials) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", MEASURED)
def test_intervals_hold_the_truth_as_often_as_they_say(name):
    share, chance = measured(name)
    assert 0.93 - chance <= share <= 0.97 + chance


@pytest.mark.slow
@pytest.mark.parametrize("name", COARSE)
def test_intervals_of_coarse_figures_are_not_too_narrow(name):
    share, chance = measured(name)
    assert share >= 0.93 - chance


@pytest.mark.slow
def test_what_knows_nothing_of_clusters_is_far_too_narrow():
    """That the simulation can tell: without the clusters, most intervals miss."""
    assert script.coverage(WORLDS["Spearman, 17 clusters alike"], 60).plain < 0.6
