from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.scoring.metrics import score

_RANGES = {
    "ge6": (6, 99),
    "short": (6, 11),
    "medium": (12, 23),
    "long": (24, 99),
    "medlong": (12, 99),
}


@pytest.mark.parametrize("set_", ["clean", "invalid"])
@pytest.mark.parametrize("range_", list(_RANGES))
@pytest.mark.parametrize("cut", ["L", "L/2", "L/5"])
def test_precisions_are_those_of_the_reference(golden_metrics, golden_pairs, set_, range_, cut):
    of = f"contact/{set_}/{range_}/{cut.replace('/', '')}"
    correct, taken = (golden_metrics[f"{of}/strict_{what}"] for what in ("correct", "n"))
    got = score(f"precision@{cut}.{range_}.upper.by_protein", golden_pairs(set_))
    assert got.value == pytest.approx((correct[taken > 0] / taken[taken > 0]).mean())
    assert got.n == np.count_nonzero(taken)
    assert sum(got.left_out.values()) == np.count_nonzero(taken == 0)


def _one_row(predict, probabilities, labels):
    """Seven residues and more: pairs of the first residue with the seventh, eighth, ..."""
    length = 6 + len(labels)
    probability, label = np.zeros((length, length)), np.full((length, length), -1)
    probability[0, 6:], label[0, 6:] = probabilities, labels
    return predict.pairs([length], [probability], [label])


def test_precision_by_hand(predict):
    # Ten residues, L/5 = 2 of the four valid pairs: a contact and a miss.
    given_ = _one_row(predict, [0.9, 0.1, 0.8, 0.2], [1, 1, 0, 1])
    assert score("precision@L/5.ge6.upper.by_protein", given_).value == 0.5
    # L/2 = 5, but there are four: 3/4.
    assert score("precision@L/2.ge6.upper.by_protein", given_).value == 0.75


def test_invalid_pairs_are_neither_picked_nor_counted(predict):
    given_ = _one_row(predict, [0.9, 0.1, 0.8, 0.2], [-1, 1, -1, 0])
    assert score("precision@L/5.ge6.upper.by_protein", given_).value == 0.5


def test_tied_pairs_share_the_last_places_evenly(predict):
    # Two places: the first is sure, three pairs with two contacts tie for the other.
    given_ = _one_row(predict, [0.9, 0.5, 0.5, 0.5], [1, 1, 0, 1])
    assert score("precision@L/5.ge6.upper.by_protein", given_).value == pytest.approx(
        (1 + 2 / 3) / 2
    )


def test_a_constant_model_earns_the_share_of_contacts(predict):
    random = np.random.default_rng(0)
    label = (random.random((60, 60)) < 0.2).astype(int)
    given_ = predict.pairs([60], [np.full((60, 60), 0.5)], [label])
    for cut in ("L", "L/2", "L/5"):
        for range_, (first, last) in _RANGES.items():
            i, j = np.triu_indices(60, first)
            share = label[i, j][j - i <= last].mean()
            name = f"precision@{cut}.{range_}.upper.by_protein"
            assert score(name, given_).value == pytest.approx(share)


def test_proteins_that_cannot_be_scored_are_counted_by_reason(predict):
    lengths = [3, 6, 8, 40]
    matrices = [np.full((length, length), 1) for length in lengths]
    matrices[2] = -matrices[2]
    given_ = predict.pairs(lengths, [np.zeros((n, n)) for n in lengths], matrices)
    got = score("precision@L/5.ge6.upper.by_protein", given_)
    assert (got.value, got.n) == (1, 1)
    assert got.left_out == {"fewer than 5 residues": 1, "no valid pair in range ge6": 2}


def test_without_any_scorable_protein_there_is_no_figure(predict):
    nothing = [np.zeros((4, 4)), np.zeros((20, 20))]
    got = score("precision@L/5.long.upper.by_protein", predict.pairs([4, 20], nothing, nothing))
    assert got.value is None
    assert got.reason == (
        "no protein can be scored: 1 with fewer than 5 residues, 1 with no valid pair in range long"
    )


@given(st.integers(5, 70), st.integers(0, 10_000), st.sampled_from(list(_RANGES)),
       st.sampled_from([1, 2, 5]))  # fmt: skip
def test_precision_is_the_mean_over_orders_of_tied_pairs(predict, length, seed, range_, parts):
    random = np.random.default_rng(seed)
    # Few distinct probabilities, and a third of the pairs invalid.
    probability = np.round(random.random((length, length)), 1)
    label = random.integers(-1, 2, size=(length, length))
    cut = {1: "L", 2: "L/2", 5: "L/5"}[parts]
    given_ = predict.pairs([length], [probability], [label])
    got = score(f"precision@{cut}.{range_}.upper.by_protein", given_).value

    first, last = _RANGES[range_]
    i, j = np.triu_indices(length, first)
    keep = (j - i <= last) & (label[i, j] != -1)
    p, y = np.float32(probability[i, j][keep]), label[i, j][keep]
    k = min(length // parts, len(p))
    if k == 0:
        assert got is None
        return
    threshold = np.sort(p)[::-1][k - 1]
    sure, tied = p > threshold, p == threshold
    expected = (y[sure].sum() + (k - sure.sum()) * y[tied].mean()) / k
    assert got == pytest.approx(expected)
