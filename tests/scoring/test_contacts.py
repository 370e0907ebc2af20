from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform

from tape_bench.scoring.contacts import contact_labels, pair_labels, separations
from tape_bench.scoring.predictions import items_per_example


@pytest.mark.parametrize("set_", ["clean", "invalid"])
def test_labels_are_those_of_the_reference(golden_metrics, set_):
    of = {key: golden_metrics[f"contact/{set_}/{key}"] for key in
          ("lens", "coords", "valid_mask", "labels")}  # fmt: skip
    for length, coordinates, valid, labels in zip(*of.values(), strict=True):
        coordinates = np.where(valid[:length, None], coordinates[:length], np.nan)
        np.testing.assert_array_equal(contact_labels(coordinates), labels[:length, :length])


def test_eight_angstrom_are_no_contact_and_a_hair_less_is():
    def label_of(distance: float) -> int:
        chain = np.full((7, 3), 1e4) * np.arange(7)[:, None]
        chain[6] = chain[0] + [distance, 0, 0]
        return int(contact_labels(chain)[0, 6])

    assert label_of(8.0) == 0
    assert label_of(np.nextafter(8.0, 0)) == 1
    # float32 would call this pair 8 Angstrom apart.
    assert label_of(7.9999999) == 1


def test_near_pairs_and_unresolved_residues_are_not_scored():
    chain = np.zeros((8, 3))
    chain[7] = np.nan
    labels = contact_labels(chain)
    assert labels.dtype == np.int8
    assert labels[0, 5] == labels[5, 0] == -1
    assert labels[0, 6] == labels[6, 0] == 1
    assert (labels[7] == -1).all()
    assert (labels[:, 7] == -1).all()


@pytest.mark.parametrize("residues", [0, 1, 4, 6, 7])
def test_chains_too_short_for_any_pair(residues):
    assert contact_labels(np.zeros((residues, 3))).shape == (residues, residues)
    assert len(pair_labels(np.zeros((residues, 3)))) == max(0, residues - 6)


@given(st.integers(0, 60), st.integers(0, 1000))
def test_pairs_follow_scipy_and_the_upper_triangle(residues, seed):
    random = np.random.default_rng(seed)
    chain = random.normal(scale=6, size=(residues, 3))
    chain[random.random(residues) < 0.1] = np.nan
    first, second = np.triu_indices(residues, 6)
    distance = squareform(pdist(chain))[first, second] if residues > 1 else np.zeros(0)
    expected = np.where(np.isnan(distance), -1, distance < 8)
    np.testing.assert_array_equal(pair_labels(chain), expected)
    np.testing.assert_array_equal(separations(residues), second - first)
    assert len(first) == items_per_example("residue_pair", np.array([residues]))[0]
