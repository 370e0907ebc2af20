"""Contact heads by algebra are the heads written out."""

from __future__ import annotations

import pytest
import torch

from tape_bench.heads.pair import PairProductDifference, logit


@pytest.fixture
def residues():
    return torch.randn(11, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def products_and_differences(x):
    """The features of every pair, `[residues, residues, 2 hidden]`, as TAPE makes them."""
    product = x[:, None] * x[None, :]
    difference = x[:, None] - x[None, :]
    return torch.cat([product, difference], dim=-1)


def test_tape_head_is_the_symmetric_linear_layer(residues):
    torch.manual_seed(0)
    head = PairProductDifference(5).double().eval()
    logits = head.predict[1](products_and_differences(residues))
    symmetric = (logits + logits.transpose(0, 1)) / 2
    torch.testing.assert_close(head.class_logits(residues), symmetric)
    torch.testing.assert_close(head(residues), symmetric[..., 1] - symmetric[..., 0])


def test_dropped_channels_have_the_mean_and_spread_of_tape_pairs(residues):
    torch.manual_seed(0)
    head = PairProductDifference(5).double().train()
    bias = float((head.predict[1].bias[1] - head.predict[1].bias[0]).detach())
    with torch.no_grad():
        drawn = torch.stack([head(residues) for _ in range(20_000)]) - bias
        weight = head.predict[1].weight[1, :5] - head.predict[1].weight[0, :5]
        terms = products_and_differences(residues)[..., :5] * weight
    # A pair's two masks of 0 or 2, averaged: mean 1, variance 1/2, each channel by itself.
    torch.testing.assert_close(drawn.mean(0), terms.sum(-1), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.var(0), (terms**2).sum(-1) / 2, atol=0.02, rtol=0.05)


@pytest.mark.parametrize("head", [PairProductDifference(5)])
@pytest.mark.parametrize("training", [False, True])
def test_a_pair_has_no_direction(head, training, residues):
    logits = head.double().train(training)(residues)
    torch.testing.assert_close(logits, logits.transpose(0, 1))


@pytest.mark.parametrize("head", [PairProductDifference(5)])
def test_training_begins_at_the_base_rate(head, residues):
    head.double().start_at(0.02)
    probability = torch.sigmoid(head.eval()(torch.zeros_like(residues)))
    torch.testing.assert_close(probability, torch.full_like(probability, 0.02), atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_a_set_without_contacts_is_no_infinity(rate):
    assert abs(logit(rate)) < 10
