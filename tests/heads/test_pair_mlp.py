"""Megatron's pair network by tiles is the network written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tape_bench.heads import pair_mlp
from tape_bench.heads.pair_mlp import PairMLP, tanh_scores

HIDDEN = 6
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = PairMLP(HIDDEN).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


def residues(*shape, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    return torch.randn(*shape, HIDDEN, generator=random, dtype=dtype)


def written_out(weights, x):
    """Score `[..., residues, hidden]` by the published layers, from Megatron's names."""
    first = x[..., None, :, :].expand(*x.shape[:-1], *x.shape[-2:])
    second = x[..., :, None, :].expand(*x.shape[:-1], *x.shape[-2:])
    ends = torch.cat([first, second], dim=-1)
    inner = torch.tanh(ends @ weights["classifier.0.weight"].T + weights["classifier.0.bias"])
    scores = inner @ weights["classifier.3.weight"].T + weights["classifier.3.bias"]
    symmetric = (scores + scores.transpose(-2, -3)) / 2
    return symmetric[..., 1] - symmetric[..., 0]


@pytest.mark.parametrize("length", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_the_published_network(head, length, dtype):
    head, x = head.to(dtype).eval(), residues(length, dtype=dtype)
    expected = written_out(head.state_dict(), x)
    torch.testing.assert_close(head(x), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_several_proteins(head):
    x = residues(2, 3, 18)
    torch.testing.assert_close(head.eval()(x), written_out(head.state_dict(), x))


def test_its_gradients_are_those_of_the_published_network(head):
    x = residues(2, 19).requires_grad_()
    importance = torch.randn(2, 19, 19, dtype=torch.float64)
    names, parameters = zip(*head.eval().named_parameters(), strict=True)
    leaves = (x, *parameters)
    written = written_out(dict(zip(names, parameters, strict=True)), x)
    theirs = torch.autograd.grad((written * importance).sum(), leaves)
    mine = torch.autograd.grad((head(x) * importance).sum(), leaves)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_tiles_pass_gradcheck(monkeypatch):
    monkeypatch.setattr(pair_mlp, "TILE", 2)
    random = torch.Generator().manual_seed(0)
    leaves = [
        torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_()
        for shape in [(2, 5, 3), (2, 5, 3), (2, 3)]
    ]
    assert torch.autograd.gradcheck(tanh_scores, leaves)


def test_dropped_units_have_the_mean_and_spread_of_megatron_pairs(head):
    x, draws = residues(4), 10_000
    weights = head.state_dict()
    with torch.no_grad():
        drawn = torch.stack([head.train()(x) for _ in range(draws)])
    down = x @ weights["classifier.0.weight"][:, HIDDEN:].T + weights["classifier.0.bias"]
    across = x @ weights["classifier.0.weight"][:, :HIDDEN].T
    unit = torch.tanh(down[:, None] + across) * weights["classifier.3.weight"].diff(dim=0)[0]
    # A direction's mask is 1 / 0.9 or 0: mean 1, variance 0.1 / 0.9; two directions, averaged.
    spread = (unit**2 + unit.transpose(0, 1) ** 2).sum(-1) * (0.1 / 0.9) / 4
    expected = written_out(weights, x)
    above = torch.ones(4, 4, dtype=torch.bool).triu(1)
    torch.testing.assert_close(drawn.mean(0)[above], expected[above], atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.var(0)[above], spread[above], atol=0, rtol=0.05)


@pytest.mark.parametrize("training", [False, True])
def test_a_pair_has_no_direction(head, training):
    logits = head.train(training)(residues(18))
    torch.testing.assert_close(logits, logits.mT)


def test_training_begins_at_the_base_rate(head):
    head.start_at(0.02)
    probability = torch.sigmoid(head(residues(9)))
    torch.testing.assert_close(probability, torch.full_like(probability, 0.02), atol=1e-6, rtol=0)


def test_it_learns_an_exclusive_or():
    """Residues touch if exactly one of them is of a kind: no sum over both ends says so."""
    torch.manual_seed(0)
    head = PairMLP(8)
    head.start_at(0.5)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-2)
    x = torch.randn(60, 8).sign()
    kind = x[:, 0] > 0
    touching = (kind[:, None] != kind).float()
    for _ in range(200):
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(head(x), touching).backward()
        optimiser.step()
    assert ((head.eval()(x) > 0) == touching.bool()).float().mean() > 0.95
