"""A protein's scores are its own, whatever it shares a batch with."""

from __future__ import annotations

import copy

import pytest
import torch

from tape_bench.heads.token_conv import TokenConv

LENGTHS = [9, 1, 4]


@pytest.fixture
def batch():
    random = torch.Generator().manual_seed(0)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(len(LENGTHS), max(LENGTHS), 6, generator=random, dtype=torch.float64), mask


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = TokenConv(6, 3).double()
    with torch.no_grad():
        # A shift after the norm would fill padding with something other than 0.
        head.main["0"].bias.uniform_(-1, 1)
    return head


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_changes_nothing(head, batch, training):
    x, mask = batch
    head.train(training)
    together = head(x, mask)
    for row, length in enumerate(LENGTHS):
        alone = head(x[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row, :length], alone[0])


@pytest.mark.parametrize("training", [False, True])
def test_padding_is_never_read(head, batch, training):
    x, mask = batch
    head.train(training)
    spoilt = torch.where(mask[..., None], x, torch.full_like(x, 7.0))
    torch.testing.assert_close(head(x, mask)[mask], head(spoilt, mask)[mask])


def test_matrix_products_are_the_convolutions(head, batch):
    x, _ = batch
    norm, first, second = copy.deepcopy(head).main.values()
    expected = second(torch.relu(first(norm(x.transpose(1, 2))))).transpose(1, 2)
    torch.testing.assert_close(head.train()(x), expected)


def test_each_layer_has_one_length(head):
    sizes = [p.numel() for name, p in head.named_parameters() if name.endswith("original0")]
    assert sizes == [1, 1]
