"""Batches hold every protein once, and give its scores back whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.heads import batches as batches_module
from tape_bench.heads.batches import PairBatches, ProteinBatches, TokenBatches
from tape_bench.heads.standardize import Scaling

UNSCALED = Scaling(np.zeros(2), np.ones(2))


def tokens(lengths, size):
    """Proteins whose channels are their number and the place of the residue."""
    sequences = [chr(ord("A") + number % 26) * length for number, length in enumerate(lengths)]
    known = {
        s: np.column_stack([np.full(len(s), n), np.arange(len(s))]).astype(np.float32) / 1000
        for n, s in enumerate(sequences)
    }
    labels = [np.arange(length) % 3 for length in lengths]
    return TokenBatches(sequences, labels, known, UNSCALED, size)


@given(st.lists(st.integers(1, 70), min_size=1, max_size=20, unique=True), st.integers(1, 120))
def test_residues_come_once_each_within_the_budget(lengths, size):
    batches = tokens(lengths, size)
    for found in (
        list(batches.in_order()),
        list(batches.shuffled(torch.Generator().manual_seed(0))),
    ):
        assert sorted(row for batch in found for row in batch.rows) == list(range(len(lengths)))
        for batch in found:
            x, mask = batch.inputs
            assert len(batch.rows) == 1 or mask.numel() <= size
            assert mask.sum(1).tolist() == [lengths[row] for row in batch.rows]
            assert (batch.targets[~mask] == -1).all()
            assert (x[~mask] == 0).all()
            parts = batches.take_apart(batch, x)
            for row, part in zip(batch.rows, parts, strict=True):
                expected = batches.representations[batches.sequences[row]]
                np.testing.assert_array_equal(part, expected)
                np.testing.assert_array_equal(
                    batch.targets[batch.rows.index(row), : lengths[row]],
                    np.arange(lengths[row]) % 3,
                )


def test_batches_are_shuffled_anew_each_epoch():
    batches = tokens(range(1, 60), 64)
    generator = torch.Generator().manual_seed(0)
    epochs = [[batch.rows for batch in batches.shuffled(generator)] for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_proteins_come_once_each():
    features = np.arange(14, dtype=np.float32).reshape(7, 2)
    batches = ProteinBatches(features, np.arange(7), 3)
    found = list(batches.shuffled(torch.Generator().manual_seed(0)))
    assert [len(batch.rows) for batch in found] == [3, 3, 1]
    rows = [row for batch in found for row in batch.rows]
    assert sorted(rows) == list(range(7))
    assert rows != list(range(7))
    for batch in found:
        assert batch.targets.tolist() == batch.rows
        np.testing.assert_array_equal(batch.inputs[0], features[batch.rows])
        parts = batches.take_apart(batch, batch.inputs[0])
        assert [part.shape for part in parts] == [(1, 2)] * len(batch.rows)


@pytest.mark.parametrize("length", [1, 6, 7, 12])
def test_pairs_come_in_the_order_of_predictions(length):
    sequence = "A" * length
    known = {sequence: np.ones((length, 2), np.float32)}
    batches = PairBatches([sequence], [np.zeros((length, 3))], known, UNSCALED, 1)
    (batch,) = batches.in_order()
    logits = torch.arange(length**2, dtype=torch.float64).reshape(length, length) / 100
    (probabilities,) = batches.take_apart(batch, logits[None])
    first, second = np.triu_indices(length, 6)
    expected = 1 / (1 + np.exp(-logits.numpy()[first, second]))
    np.testing.assert_allclose(probabilities, expected)
    assert len(batch.inputs) == 1, "no mask where nothing is padded"
    assert batch.targets.shape == (1, length, length)
    assert batch.targets[0, first, second].tolist() == [1] * len(first)


def pairs(lengths, size):
    """Proteins whose residues lie on a line, an Angstrom apart."""
    sequences = [chr(ord("A") + number) * length for number, length in enumerate(lengths)]
    known = {s: np.full((len(s), 2), n + 1, np.float32) for n, s in enumerate(sequences)}
    walks = [np.arange(length)[:, None] * np.array([[1.0, 0.0, 0.0]]) for length in lengths]
    return PairBatches(sequences, walks, known, UNSCALED, size)


@pytest.mark.parametrize("shuffled", [False, True])
def test_proteins_of_like_length_are_padded_together(shuffled):
    lengths = [9, 30, 8, 29, 10, 31, 100]
    batches = pairs(lengths, 3)
    generator = torch.Generator().manual_seed(0)
    found = list(batches.shuffled(generator) if shuffled else batches.in_order())
    assert sorted(sorted(batch.rows) for batch in found) == [[0, 2, 4], [1, 3, 5], [6]]
    for batch in found:
        x, *masks = batch.inputs
        width = max(lengths[row] for row in batch.rows)
        assert x.shape == (len(batch.rows), width, 2)
        for mask in masks:
            assert mask.sum(1).tolist() == [lengths[row] for row in batch.rows]
            assert (x[~mask] == 0).all()
        i, j = np.indices((width, width))
        for place, row in enumerate(batch.rows):
            assert (x[place, : lengths[row]] == row + 1).all()
            counts = (abs(i - j) >= 6) & (np.maximum(i, j) < lengths[row])
            expected = np.where(counts, abs(i - j) < 8, -1)
            np.testing.assert_array_equal(batch.targets[place], expected)


def test_neighbours_in_a_batch_change_from_epoch_to_epoch():
    batches = pairs([8, 9, 10, 11, 12, 13], 2)
    generator = torch.Generator().manual_seed(0)
    epochs = [{frozenset(b.rows) for b in batches.shuffled(generator)} for _ in range(4)]
    assert any(epoch != epochs[0] for epoch in epochs)


def test_long_proteins_share_no_batch(monkeypatch):
    monkeypatch.setattr(batches_module, "MOST_PAIRS", 2 * 30**2)
    found = [batch.rows for batch in pairs([9, 30, 31, 29, 100], 3).in_order()]
    assert found == [[0, 1], [2], [3], [4]]


def test_padded_scores_come_back_whole():
    batches = pairs([9, 7], 2)
    (batch,) = batches.in_order()
    logits = torch.arange(2 * 81, dtype=torch.float64).reshape(2, 9, 9) / 100
    for row, found in zip(batch.rows, batches.take_apart(batch, logits), strict=True):
        first, second = np.triu_indices(len(batches.sequences[row]), 6)
        own = logits[batch.rows.index(row)].numpy()
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-own[first, second])))


def test_one_protein_a_batch_comes_in_the_order_drawn():
    lengths = [9, 30, 8, 29, 10]
    found = [batch.rows for batch in pairs(lengths, 1).shuffled(torch.Generator().manual_seed(3))]
    drawn = torch.randperm(5, generator=torch.Generator().manual_seed(3)).tolist()
    assert found == [[row] for row in drawn]
