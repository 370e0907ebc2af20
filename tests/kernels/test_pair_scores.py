from __future__ import annotations

import pytest
import torch

from tape_bench.kernels import pair_scores


@pytest.fixture
def wide(dtype):
    """The precision of weights and scores."""
    return torch.promote_types(dtype, torch.float32)


def written_out(x, product, difference=None, bias=None):
    """Score the features of all pairs, laid out as `[residues, residues, hidden]`."""
    x = x.double()
    one, other = x[..., :, None, :], x[..., None, :, :]
    scores = (one * other) @ product.double().T
    if difference is not None:
        scores = scores + (one - other) @ difference.double().T
    if bias is not None:
        scores = scores + bias.double()
    return scores.movedim(-1, -3)


@pytest.mark.parametrize("residues", [1, 2, 63, 64, 65, 127, 257])
def test_one_channel(draw, near, dtype, wide, residues):
    x, product = draw(residues, 33, dtype=dtype), draw(1, 33, dtype=wide)
    near(pair_scores(x, product), written_out(x, product), wide)


@pytest.mark.slow
@pytest.mark.parametrize("residues", [1023, 2049])
def test_long_proteins(draw, near, dtype, wide, residues):
    x, product = draw(residues, 8, dtype=dtype), draw(1, 8, dtype=wide)
    near(pair_scores(x, product), written_out(x, product), wide)


@pytest.mark.parametrize("hidden", [1, 31, 64, 100])
def test_channels_with_differences_and_biases(draw, near, dtype, wide, hidden):
    x = draw(70, hidden, dtype=dtype)
    product, difference = draw(3, hidden, dtype=wide), draw(3, hidden, dtype=wide)
    bias = draw(3, dtype=wide)
    expected = written_out(x, product, difference, bias)
    near(pair_scores(x, product, difference, bias), expected, wide)


def test_several_proteins(draw, near, dtype, wide):
    x, product = draw(2, 2, 66, 16, dtype=dtype), draw(2, 16, dtype=wide)
    difference = draw(2, 16, dtype=wide)
    expected = written_out(x, product, difference)
    near(pair_scores(x, product, difference), expected, wide)


def test_differences_change_sign_when_a_pair_is_turned_round(draw, near, dtype, wide):
    x, product = draw(130, 16, dtype=dtype), draw(1, 16, dtype=wide)
    scores = pair_scores(x, product, draw(1, 16, dtype=wide))[0]
    near((scores + scores.T) / 2, written_out(x, product)[0], wide)


def test_no_residues(draw, dtype, wide):
    assert pair_scores(draw(0, 8, dtype=dtype), draw(2, 8, dtype=wide)).shape == (2, 0, 0)


def test_gradients(draw, near, dtype, wide):
    leaves = [draw(*shape, dtype=wide) for shape in [(65, 8), (2, 8), (2, 8), (2,)]]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    importance = draw(2, 65, 65, dtype=wide)
    mine = torch.autograd.grad((pair_scores(*leaves) * importance).sum(), leaves)
    theirs = torch.autograd.grad((written_out(*leaves) * importance).sum(), leaves)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_gradients_of_several_proteins_in_float64(draw):
    shapes = [(2, 5, 3), (2, 3), (2, 3), (2,)]
    leaves = [draw(*shape, dtype=torch.float64) for shape in shapes]
    assert torch.autograd.gradcheck(pair_scores, [leaf.requires_grad_() for leaf in leaves])


def test_low_precision_inputs_get_gradients_of_their_own_precision(draw):
    x = torch.ones_like(draw(4, 3, dtype=torch.bfloat16), requires_grad=True)
    product = torch.ones_like(draw(1, 3), requires_grad=True)
    pair_scores(x, product).sum().backward()
    assert x.grad.dtype == torch.bfloat16
    # The sum of x_i . x_j over 16 pairs of ones: each channel of each residue meets 8 ones.
    assert x.grad.tolist() == [[8.0] * 3] * 4
    assert product.grad.tolist() == [[16.0] * 3]
