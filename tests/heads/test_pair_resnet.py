"""The fork's residual network by algebra is the network written out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional

from tape_bench.heads import pair_resnet
from tape_bench.heads.pair_resnet import PairResNet, as_published

HIDDEN = 5
LENGTHS = [13, 7, 10]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(0)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    x = torch.randn(len(LENGTHS), max(LENGTHS), HIDDEN, generator=random, dtype=torch.float64)
    return x * mask[..., None], mask


@pytest.fixture
def head(monkeypatch):
    return new_head(PairResNet, monkeypatch)


def new_head(make, monkeypatch):
    """A head of three blocks, as if trained: batch norm shifts, scales, and knows statistics."""
    monkeypatch.setattr(pair_resnet, "BLOCKS", 3)
    torch.manual_seed(0)
    head = make(HIDDEN).double()
    for name, tensor in head.state_dict().items():
        if "bn" in name and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return head


def without_dropout(monkeypatch):
    monkeypatch.setattr(pair_resnet, "DROPOUT", 0.0)


def written_out(weights, x, training):
    """Score `[proteins, residues, hidden]` by the published layers, from the fork's names."""
    one, other = x[:, :, None], x[:, None]
    features = torch.cat([one * other, one - other], dim=-1).movedim(-1, 1)
    maps = functional.conv2d(features, weights["predict.1.weight"], weights["predict.1.bias"])

    def normed(maps, norm):
        mean, variance = weights[norm + ".running_mean"], weights[norm + ".running_var"]
        if training:
            mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3), correction=0)
        scale = weights[norm + ".weight"] / (variance + 1e-5).sqrt()
        shift = weights[norm + ".bias"] - mean * scale
        return maps * scale[:, None, None] + shift[:, None, None]

    for number in range(3):
        block = f"predict.ResidualBlock{number}."
        inner = functional.conv2d(maps, weights[block + "conv1.weight"], padding=1)
        inner = normed(inner, block + "bn1").relu()
        inner = functional.conv2d(inner, weights[block + "conv2.weight"], padding=1)
        maps = (normed(inner, block + "bn2") + maps).relu()
    scores = maps.movedim(1, -1) @ weights["linear.0.weight"].T + weights["linear.0.bias"]
    symmetric = (scores + scores.transpose(1, 2)) / 2
    return symmetric[..., 1] - symmetric[..., 0]


def test_it_has_the_parameters_of_the_fork():
    # (2 * 1024 + 1) * 64, 30 * (2 * 9 * 64 * 64 + 2 * 2 * 64), and 65 * 2.
    assert sum(p.numel() for p in PairResNet(1024).parameters()) == 2_350_786


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_the_published_network(head, batch, training, dtype, monkeypatch):
    without_dropout(monkeypatch)
    head, x = head.to(dtype).train(training), batch[0].to(dtype)
    expected = written_out(head.state_dict(), x, training)
    torch.testing.assert_close(head(x), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def test_one_protein_needs_no_batch(head, batch):
    x, _ = batch
    torch.testing.assert_close(head.eval()(x[0]), head(x[:1])[0])
    torch.testing.assert_close(head(x[None])[0], head(x))


@pytest.mark.parametrize("remembered", [0, 10_000])
def test_its_gradients_are_those_of_the_published_network(head, batch, remembered, monkeypatch):
    without_dropout(monkeypatch)
    monkeypatch.setattr(pair_resnet, "REMEMBERED", remembered)
    x, _ = batch
    importance = torch.randn(x.shape[0], x.shape[1], x.shape[1], dtype=x.dtype)
    names, leaves = zip(*head.named_parameters(), strict=True)
    written = written_out(head.state_dict() | dict(zip(names, leaves, strict=True)), x, True)
    theirs = torch.autograd.grad((written * importance).sum(), leaves)
    mine = torch.autograd.grad((head(x) * importance).sum(), leaves)
    for name, one, other in zip(names, mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9, msg=name)


def test_batch_norm_counts_a_batch_once_even_if_it_is_computed_twice(head, batch, monkeypatch):
    x, mask = batch
    after = []
    for remembered in (0, 10_000):
        monkeypatch.setattr(pair_resnet, "REMEMBERED", remembered)
        torch.manual_seed(0)
        twin = copy.deepcopy(head).train()
        twin(x, mask).sum().backward()
        assert twin.predict["ResidualBlock0"].bn1.momentum == 0.1
        after.append(twin.state_dict())
    assert not torch.equal(
        after[0]["predict.ResidualBlock0.bn1.running_mean"],
        head.state_dict()["predict.ResidualBlock0.bn1.running_mean"],
    )
    for name, tensor in after[0].items():
        torch.testing.assert_close(tensor, after[1][name], msg=name)


def test_in_evaluation_a_batch_changes_nothing(head, batch):
    x, mask = batch
    together = head.eval()(x, mask)
    for row, length in enumerate(LENGTHS):
        alone = head(x[row, :length])
        torch.testing.assert_close(together[row, :length, :length], alone)


@pytest.mark.parametrize("training", [False, True])
def test_padding_is_never_read(head, batch, training):
    x, mask = batch
    spoilt = torch.where(mask[..., None], x, torch.full_like(x, 7.0))
    real = mask[:, :, None] & mask[:, None]
    torch.manual_seed(0)
    expected = head.train(training)(x, mask)[real]
    torch.manual_seed(0)
    torch.testing.assert_close(head(spoilt, mask)[real], expected)


def test_batch_norm_counts_real_pairs_only(head, batch, monkeypatch):
    without_dropout(monkeypatch)
    x, mask = batch
    real = mask[:, :, None] & mask[:, None]
    expected = []
    for row, length in enumerate(LENGTHS):
        maps = head.first_stage(x[row, :length])
        alone = head.predict["ResidualBlock0"].conv1(maps[None])[0]
        expected.append(alone.flatten(1))
    expected = torch.cat(expected, dim=1)
    norm = head.predict["ResidualBlock0"].bn1
    before = norm.running_mean.clone(), norm.running_var.clone()
    head.train()(x, mask)
    assert expected.shape[1] == real.sum()
    torch.testing.assert_close(norm.running_mean, 0.9 * before[0] + 0.1 * expected.mean(1))
    torch.testing.assert_close(norm.running_var, 0.9 * before[1] + 0.1 * expected.var(1))


@pytest.mark.parametrize("training", [False, True])
def test_as_published_padding_counts(batch, training, monkeypatch):
    without_dropout(monkeypatch)
    head = new_head(as_published, monkeypatch).train(training)
    x, mask = batch
    found = head(x, mask)
    torch.testing.assert_close(found, written_out(head.state_dict(), x, training))
    alone = written_out(head.state_dict(), x[1:2, : LENGTHS[1]], training)
    assert (found[1, : LENGTHS[1], : LENGTHS[1]] - alone).abs().max() > 1e-3


def test_dropped_channels_have_the_mean_and_spread_of_the_fork(head, batch):
    x, draws = batch[0][0, :6], 2000
    layer = head.predict["1"]
    weight = layer.weight.detach().flatten(1)
    with torch.no_grad():
        drawn = torch.stack([head.train().first_stage(x) for _ in range(draws)])
    one, other = x[:, None], x[None]
    features = torch.cat([(one * other).expand(6, 6, -1), one - other], dim=-1)
    terms = features[None] * weight[:, None, None]
    # Each feature counts twice or not at all: mean 1, variance 1, each by itself.
    mean = terms.sum(-1) + layer.bias.detach()[:, None, None]
    spread = (terms**2).sum(-1)
    assert ((drawn.mean(0) - mean).abs() <= 6 * (spread / draws).sqrt() + 1e-9).all()
    torch.testing.assert_close(drawn.var(0).sum(), spread.sum(), rtol=0.05, atol=0)


@pytest.mark.parametrize("training", [False, True])
def test_a_pair_has_no_direction(head, batch, training):
    logits = head.train(training)(*batch)
    torch.testing.assert_close(logits, logits.mT)


def test_training_begins_at_the_base_rate(head, batch):
    head.start_at(0.02)
    probability = torch.sigmoid(head.eval()(*batch))
    torch.testing.assert_close(probability, torch.full_like(probability, 0.02), atol=1e-6, rtol=0)


def test_it_learns_what_neighbouring_pairs_tell(monkeypatch):
    """A pair touches if the pairs a step before and a step after are both alike."""
    monkeypatch.setattr(pair_resnet, "BLOCKS", 2)
    torch.manual_seed(0)
    head = PairResNet(4)
    head.start_at(0.3)
    optimiser = torch.optim.AdamW(head.parameters(), lr=3e-3)

    def example():
        x = torch.randint(0, 2, (1, 24, 4)).float() * 2 - 1
        alike = x[..., 0, None] == x[..., None, :, 0]
        return x, (alike[:, :-2, :-2] & alike[:, 2:, 2:]).float()

    for _ in range(150):
        x, touching = example()
        optimiser.zero_grad()
        logits = head(x)[:, 1:-1, 1:-1]
        functional.binary_cross_entropy_with_logits(logits, touching).backward()
        optimiser.step()
    x, touching = example()
    right = (head.eval()(x)[:, 1:-1, 1:-1] > 0) == touching.bool()
    assert right.float().mean() > 0.9
