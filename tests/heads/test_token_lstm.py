"""A bidirectional LSTM reads the whole chain, and nothing but the chain."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tape_bench.heads.batches import TokenBatches
from tape_bench.heads.catalogue import HEADS, FitConfig
from tape_bench.heads.fit import fit, seeded
from tape_bench.heads.losses import cross_entropy
from tape_bench.heads.standardize import Scaling
from tape_bench.heads.token_lstm import TokenLSTM

LENGTHS = [9, 1, 4]


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(0)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), max(LENGTHS), 6, generator=random, dtype=torch.float64), mask


@pytest.fixture
def head():
    torch.manual_seed(0)
    return TokenLSTM(6, 3).double().eval()


def test_it_is_pytorchs_bidirectional_lstm_of_packed_sequences(head, batch):
    """Another road to the same scores: packed, in one module, as PyTorch documents it."""
    x, mask = batch
    width = head.scores.in_features // 2
    expected = nn.LSTM(6, width, 2, batch_first=True, bidirectional=True).double()
    for layer, (forwards, backwards) in enumerate(zip(head.forwards, head.backwards, strict=True)):
        for own, suffix in ((forwards, ""), (backwards, "_reverse")):
            for name, weight in own.named_parameters():
                getattr(expected, name.replace("_l0", f"_l{layer}{suffix}")).data = weight.data
    packed = pack_padded_sequence(x, mask.sum(1), batch_first=True, enforce_sorted=False)
    hidden, _ = pad_packed_sequence(expected(packed)[0], batch_first=True)
    torch.testing.assert_close(head(x, mask)[mask], head.scores(hidden)[mask])


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_batch_changes_nothing(head, batch, precision):
    x, mask = batch[0].to(precision), batch[1]
    head.to(precision)
    together = head(x, mask)
    for row, length in enumerate(LENGTHS):
        alone = head(x[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0])


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_padding_is_never_read(head, batch, precision):
    x, mask = batch[0].to(precision), batch[1]
    head.to(precision)
    spoilt = torch.where(mask[..., None], x, torch.full_like(x, 7.0))
    torch.testing.assert_close(head(x, mask)[mask], head(spoilt, mask)[mask], rtol=0, atol=0)


def test_every_weight_and_residue_is_learned_from(head, batch):
    x, mask = batch
    x.requires_grad_()
    head(x, mask)[mask].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    assert (x.grad.abs().sum(-1) > 0).equal(mask)


def test_each_residue_is_scored_by_all_others(head, batch):
    """Both ways, from one end of the chain to the other."""
    x, _ = batch
    x.requires_grad_()
    for place in (0, 4, 8):
        (reached,) = torch.autograd.grad(head(x[:1])[0, place].sum(), x)
        assert (reached[0].abs().sum(-1) > 0).all()


def by_the_ends(seed, count=160):
    """Chains whose class is told by the first and the last letter together, and by no other."""
    random = np.random.default_rng(seed)
    chains, labels = [], []
    for _ in range(count):
        letters = random.integers(2, size=random.integers(9, 14))
        chains.append("".join("AC"[letter] for letter in letters))
        labels.append(np.full(len(letters), letters[0] + letters[-1]))
    return chains, labels


def batches(seed):
    chains, labels = by_the_ends(seed)
    known = {c: np.eye(2, dtype=np.float32)[[*map("AC".index, c)]] for c in chains}
    return TokenBatches(chains, labels, known, Scaling(np.full(2, 0.5), np.full(2, 0.5)), 256)


def trained(seed, epochs):
    with seeded(seed, torch.device("cpu")):
        head = TokenLSTM(2, 3)
        fit(
            head,
            batches(0),
            batches(1),
            cross_entropy,
            FitConfig(2e-2, 0.0, batch=256, max_epochs=epochs),
            seed,
        )
    return head.eval()


def test_it_learns_what_no_window_can_see():
    """In the middle of a chain the two ends are at least 4 residues off; chance is 1/2."""
    head = trained(0, epochs=8)
    right = []
    for one in batches(2).in_order():
        x, mask = one.inputs
        with torch.no_grad():
            guessed = head(x, mask).argmax(-1)
        middle = mask.sum(1) // 2
        rows = torch.arange(len(middle))
        right += (guessed[rows, middle] == one.targets[rows, middle]).tolist()
    assert np.mean(right) > 0.95


def test_the_seed_decides_everything():
    first, again, other = (trained(seed, epochs=1).state_dict() for seed in (3, 3, 4))
    assert all(first[name].equal(again[name]) for name in first)
    assert not any(first[name].equal(other[name]) for name in first)


def test_it_is_a_head_for_residues():
    assert "bilstm" in HEADS["token_class"]
    assert not any("bilstm" in heads for kind, heads in HEADS.items() if kind != "token_class")
