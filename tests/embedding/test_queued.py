"""Models that queue: the next launch begins before the last one's vectors are taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tape_bench.embedding.forward import Entry, Forward
from tape_bench.embedding.in_memory import represent
from tape_bench.errors import ModelError


@pytest.fixture
def queued(letters):
    """The model of letters, on something that computes by itself."""

    class Queued(type(letters)):
        launches_ahead = 1
        told: list[str]

        def queue_packed(self, sequences, pools):
            if self.fails(sequences):
                raise torch.OutOfMemoryError("CUDA out of memory")
            self.told.append(f"begin {len(sequences[0])}")

            def collect():
                if self.fails_late(sequences):
                    raise torch.OutOfMemoryError("CUDA out of memory")
                self.told.append(f"end {len(sequences[0])}")
                return self.embed_packed(sequences, pools)

            return collect

        def fails(self, sequences):
            return False

        def fails_late(self, sequences):
            return False

    letters.__class__ = Queued
    letters.told = []
    return letters


def batches(*lengths):
    return [[Entry("A" * length)] for length in lengths]


def test_the_next_begins_before_the_last_ends(queued):
    found = list(Forward(queued).each(batches(5, 4, 3), lambda batch: ["mean"]))
    assert queued.told == ["begin 5", "begin 4", "end 5", "begin 3", "end 4", "end 3"]
    assert [len(batch[0].sequence) for batch, _ in found] == [5, 4, 3]


def test_with_nothing_ahead_one_follows_the_other(queued):
    type(queued).launches_ahead = 0
    list(Forward(queued).each(batches(5, 4), lambda batch: ["mean"]))
    assert queued.told == ["begin 5", "end 5", "begin 4", "end 4"]


@pytest.mark.parametrize("when", ["fails", "fails_late"])
def test_memory_that_runs_out_costs_no_batch(queued, expected, monkeypatch, when):
    monkeypatch.setattr(queued, when, lambda sequences: len(sequences[0]) == 4)
    found = {
        batch[0].sequence: found["residues"][0]
        for batch, found in Forward(queued).each(batches(5, 4, 3), lambda batch: ["residues"])
    }
    assert list(found) == ["A" * 5, "A" * 4, "A" * 3]
    for sequence, vectors in found.items():
        np.testing.assert_array_equal(vectors, expected(sequence, "residues"))


def test_another_error_is_the_models(queued, monkeypatch):
    def broken(sequences):
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(queued, "fails_late", broken)
    with pytest.raises(ModelError, match=r"embed.* raised RuntimeError.*illegal"):
        list(Forward(queued).each(batches(5), lambda batch: ["mean"]))


def test_windows_and_whole_proteins_come_in_order(queued, expected):
    proteins = ["ACDEF" * 6, "MKV", "GG"]
    with represent(queued, proteins, "mean", window=10) as found:
        np.testing.assert_array_equal(found["MKV"], expected("MKV", "mean"))
        np.testing.assert_array_equal(found["GG"], expected("GG", "mean"))
        assert len(found) == 3
