"""Batches are formed by length alone, and halved where memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.embedding.forward import Entry, Forward
from tape_bench.errors import ModelError
from tape_bench.models.packing import pack


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 100), st.booleans())
def test_every_sequence_is_in_one_batch_within_the_budget(lengths, tokens, padded):
    batches = pack(lengths, tokens, padded=padded)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        sizes = [lengths[index] for index in batch]
        launched = max(sizes) * len(sizes) if padded else sum(sizes)
        assert len(batch) == 1 or launched <= tokens


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 100))
def test_what_is_left_of_an_interrupted_run_forms_the_same_batches(lengths, tokens):
    lengths = sorted(lengths, reverse=True)
    batches = pack(lengths, tokens)
    for done in range(len(batches)):
        first = batches[done][0]
        rest = [[index + first for index in batch] for batch in pack(lengths[first:], tokens)]
        assert rest == batches[done:]


def test_packed_batches_are_filled_to_the_brim(letters):
    lengths = np.random.default_rng(0).integers(20, 60, 2000)
    letters.budget = 4096
    entries = [Entry("A" * int(n) + str(i)) for i, n in enumerate(lengths)]
    batches = list(Forward(letters).batches(entries))
    filled = [sum(len(r.sequence) + letters.special_tokens for r in batch) for batch in batches]
    assert max(filled) <= 4096
    assert sum(filled[:-1]) / (4096 * len(filled[:-1])) > 0.985


def test_a_given_budget_goes_before_the_models_own(letters):
    entries = [Entry("A" * n) for n in range(1, 30)]
    batches = list(Forward(letters, 10).batches(entries))
    assert max(sum(len(r.sequence) + 2 for r in b) for b in batches if len(b) > 1) <= 10


def test_a_model_that_pads_is_given_padded_batches(letters, monkeypatch):
    class Padding:
        identity = letters.identity

        def embed(self, sequences, pool="residues"):
            return letters.embed(sequences, pool)

    monkeypatch.setattr("tape_bench.embedding.forward.PADDED_TOKENS", 20)
    for batch in Forward(Padding()).batches(Entry("A" * n) for n in range(1, 15)):
        sizes = [len(entry.sequence) for entry in batch]
        assert len(sizes) == 1 or max(sizes) * len(sizes) <= 20


def test_several_poolings_take_one_launch(letters, expected):
    found = Forward(letters)([Entry("MKV"), Entry("GG")], ["mean", "residues"])
    assert len(letters.launches) == 1
    for pool in ("mean", "residues"):
        for sequence, vectors in zip(("MKV", "GG"), found[pool], strict=True):
            np.testing.assert_array_equal(vectors, expected(sequence, pool))


@pytest.mark.parametrize("memory", [5, 12, 30])
def test_a_batch_too_large_for_the_memory_is_halved(letters, expected, memory):
    letters.memory = memory
    entries = [Entry("ACDEF"[:n]) for n in (5, 4, 3, 2, 1)]
    forward = Forward(letters)
    found = forward(entries, ["residues"])["residues"]
    for entry, vectors in zip(entries, found, strict=True):
        np.testing.assert_array_equal(vectors, expected(entry.sequence, "residues"))
    letters.launches.clear()
    forward(entries, ["residues"])
    # What has failed once is not tried again.
    assert all(sum(map(len, launch)) <= memory for launch in letters.launches)


def test_a_protein_that_alone_is_too_large_says_so(letters):
    letters.memory = 10
    with pytest.raises(ModelError, match="does not hold a protein of 11 residues"):
        Forward(letters)([Entry("A" * 11), Entry("C")], ["mean"])


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_all_ways_to_run_out_of_memory_are_known(letters, monkeypatch, error):
    whole = letters.embed_packed

    def embed_packed(sequences, pools):
        if len(sequences) > 1:
            raise error
        return whole(sequences, pools)

    monkeypatch.setattr(letters, "embed_packed", embed_packed)
    assert len(Forward(letters)([Entry("MK"), Entry("V")], ["mean"])["mean"]) == 2


def test_any_other_error_is_not_hidden(letters, monkeypatch):
    def embed_packed(sequences, pools):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(letters, "embed_packed", embed_packed)
    with pytest.raises(ModelError, match=r"letters: embed.* raised RuntimeError.*illegal"):
        Forward(letters)([Entry("MK"), Entry("V")], ["mean"])


def test_windows_go_alone_and_come_first(letters):
    entries = [Entry("A" * 30, 10), Entry("C" * 40), Entry("D" * 25, 10)]
    batches = list(Forward(letters, 1000).batches(entries))
    assert [[len(r.sequence) for r in batch] for batch in batches] == [[30], [25], [40]]
