"""Each distinct sequence is represented once, whole, and kept faithfully."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.embedding import forward
from tape_bench.embedding import in_memory as embed
from tape_bench.embedding.in_memory import represent
from tape_bench.embedding.windows import windows
from tape_bench.errors import ModelError, StorageError
from tape_bench.models.controls.onehot import control_identity

SEQUENCES = ["MKV", "AAAAAAA", "MKV", "C", "WYWYW", "AAAAAAA", "GG"]


@dataclass
class Places:
    """A model that says where in the text it was given a residue stood, and the text's length."""

    longest: int | None = None
    seen: list[list[str]] = field(default_factory=list)

    @property
    def identity(self):
        return replace(control_identity("places", hidden_size=3), longest_input=self.longest)

    def embed(self, sequences, pool="residues"):
        self.seen.append(list(sequences))
        residues = [
            np.array([[place, len(s), ord(s[place])] for place in range(len(s))], np.float32)
            for s in sequences
        ]
        if pool == "residues":
            return residues
        return [r.mean(axis=0) if pool == "mean" else r[0] for r in residues]


class Broken(Places):
    """A model whose answer is changed on the way."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def embed(self, sequences, pool="residues"):
        return self.change(super().embed(sequences, pool))


def test_each_distinct_sequence_is_seen_once():
    model = Places()
    found = represent(model, SEQUENCES, "residues")
    assert sorted(s for batch in model.seen for s in batch) == sorted(set(SEQUENCES))
    assert set(found) == set(SEQUENCES)
    assert len(found) == len(set(SEQUENCES))


@pytest.mark.parametrize("pool", ["residues", "mean", "first"])
def test_a_representation_is_what_the_model_says_of_that_sequence(pool):
    found = represent(Places(), SEQUENCES, pool)
    for sequence in SEQUENCES:
        (alone,) = Places().embed([sequence], pool)
        np.testing.assert_array_equal(found[sequence], alone)
        assert found[sequence].dtype == np.float32


def test_the_order_given_changes_no_batch(monkeypatch):
    monkeypatch.setattr(forward, "PADDED_TOKENS", 8)
    forwards, backwards = Places(), Places()
    represent(forwards, SEQUENCES, "residues")
    represent(backwards, reversed(SEQUENCES), "residues")
    assert forwards.seen == backwards.seen


def test_batches_keep_to_the_budget_padding_counted(monkeypatch):
    monkeypatch.setattr(forward, "PADDED_TOKENS", 12)
    model = Places()
    represent(model, ["A" * n for n in range(1, 20)], "residues")
    for batch in model.seen:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= 12


def test_progress_counts_distinct_residues_up_to_all_of_them(monkeypatch):
    monkeypatch.setattr(forward, "PADDED_TOKENS", 4)
    heard = []
    represent(Places(), SEQUENCES, "mean", progress=lambda *counts: heard.append(counts))
    done, totals = zip(*heard, strict=True)
    assert set(totals) == {3 + 7 + 1 + 5 + 2}
    assert done[-1] == 18
    assert list(done) == sorted(done)


def test_representations_cannot_be_changed_by_a_reader():
    found = represent(Places(), SEQUENCES, "residues")
    with pytest.raises(ValueError, match="read-only"):
        found["MKV"][0, 0] = 9


def test_nothing_to_represent():
    assert len(represent(Places(), [], "residues")) == 0


def test_large_sets_are_kept_in_a_file_without_a_name(monkeypatch):
    in_memory = represent(Places(), SEQUENCES, "residues")
    monkeypatch.setattr(embed, "MEMORY_LIMIT", 10)
    before = set(Path(tempfile.gettempdir()).glob("tape-bench-*"))
    with represent(Places(), SEQUENCES, "residues") as on_disk:
        assert set(Path(tempfile.gettempdir()).glob("tape-bench-*")) == before
        for sequence in SEQUENCES:
            np.testing.assert_array_equal(on_disk[sequence], in_memory[sequence])
    assert len(on_disk) == 0


def test_a_full_disk_is_told_before_any_work(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(embed, "MEMORY_LIMIT", 10)
    monkeypatch.setattr(os, "posix_fallocate", full)
    model = Places()
    with pytest.raises(StorageError, match="no room"):
        represent(model, SEQUENCES, "residues")
    assert model.seen == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda found: None, "NoneType instead of a list"),
        (lambda found: found[:-1], "1 representations for 2 sequences"),
        (lambda found: [f[:, :2] for f in found], "shape"),
        (lambda found: [f[1:] for f in found], "shape"),
        (lambda found: [np.where(f == 1, np.nan, f) for f in found], "not finite"),
        (lambda found: [np.where(f == 1, np.inf, f) for f in found], "not finite"),
    ],
)
def test_a_model_that_breaks_its_promise_is_named(change, complaint):
    with pytest.raises(ModelError, match=f"places gave .*{complaint}") as caught:
        represent(Broken(change), ["MKV", "GG"], "residues")
    if "list" not in complaint and "2 sequences" not in complaint:
        assert "MKV" in str(caught.value)


def test_a_protein_longer_than_the_model_reads_is_refused():
    with pytest.raises(ModelError, match="7 residues is longer than the 5"):
        represent(Places(longest=5), SEQUENCES, "residues")


def test_an_empty_sequence_is_refused():
    with pytest.raises(ModelError, match="empty"):
        represent(Places(), ["MKV", ""], "residues")


def test_windows_wider_than_the_model_reads_are_refused():
    with pytest.raises(ModelError, match="too wide"):
        represent(Places(longest=5), SEQUENCES, "residues", window=6)


def test_windows_have_no_first_token_in_common():
    with pytest.raises(ModelError, match="first token"):
        represent(Places(), SEQUENCES, "first", window=4)


def test_a_long_protein_is_read_in_windows():
    model = Places(longest=4)
    found = represent(model, ["ACDEFGH", "MK"], "residues", window=4)
    # Windows ACDE, DEFG and EFGH (evenly spread over starts 0, 1.5 and 3).
    assert sorted(s for batch in model.seen for s in batch) == ["ACDE", "DEFG", "EFGH", "MK"]
    assert [chr(int(code)) for code in found["ACDEFGH"][:, 2]] == list("ACDEFGH")
    assert found["ACDEFGH"][:, 0].tolist() == [0, 1, 2, 1, 1, 2, 3]
    np.testing.assert_array_equal(found["MK"], Places().embed(["MK"])[0])


def test_a_long_protein_is_pooled_over_all_its_residues():
    found = represent(Places(longest=4), ["ACDEFGH"], "mean", window=4)
    letters = np.mean([ord(letter) for letter in "ACDEFGH"])
    assert found["ACDEFGH"][2] == pytest.approx(letters)


@given(st.integers(1, 400), st.integers(1, 90))
def test_every_residue_comes_from_a_window_that_shows_its_surroundings(length, width):
    cuts = windows(length, width)
    kept = [place for cut in cuts for place in range(cut.keep_from, cut.keep_to)]
    assert kept == list(range(length))
    for cut in cuts:
        assert 0 <= cut.start <= cut.keep_from < cut.keep_to <= cut.stop <= length
        assert cut.stop - cut.start == min(width, length)
    for cut in cuts:
        for place in range(cut.keep_from, cut.keep_to):
            best = max(_context(other, place, length) for other in cuts)
            assert _context(cut, place, length) >= best - 1


def _context(cut, place, length):
    """Residues shown on the poorer side; a chain's own end is no loss."""
    if not cut.start <= place < cut.stop:
        return -1
    left = np.inf if cut.start == 0 else place - cut.start
    right = np.inf if cut.stop == length else cut.stop - 1 - place
    return min(left, right)
