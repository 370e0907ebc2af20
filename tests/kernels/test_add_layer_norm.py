from __future__ import annotations

import pytest
import torch

from tape_bench.kernels import add_layer_norm

LONG = [pytest.param(n, marks=pytest.mark.slow) for n in (257, 1023, 2049)]


@pytest.fixture
def wide(dtype):
    """The precision of the residual stream."""
    return torch.promote_types(dtype, torch.float32)


def written_out(residual, branch, weight, bias, eps, branch_bias=0.0):
    stream = residual.double() + branch.double() + branch_bias
    centred = stream - stream.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return stream, centred / spread * weight.double() + bias.double()


@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 127, *LONG])
def test_the_stream_and_its_norm(draw, near, dtype, wide, tokens):
    residual, branch = draw(tokens, 80, dtype=wide), draw(tokens, 80, dtype=dtype)
    weight, bias = draw(80, dtype=dtype), draw(80, dtype=dtype)
    expected = written_out(residual, branch, weight, bias, 1e-12)
    stream, normed = add_layer_norm(residual, branch, weight, bias, 1e-12)
    near(stream, expected[0], wide)
    near(normed, expected[1])


@pytest.mark.parametrize("hidden", [1, 2, 1023, 1024, 2560])
def test_any_width_and_a_bias_of_the_branch(draw, near, dtype, wide, hidden):
    residual, branch = draw(2, 3, hidden, dtype=wide, scale=9), draw(2, 3, hidden, dtype=dtype)
    weight, bias, late = (draw(hidden, dtype=dtype) for _ in range(3))
    expected = written_out(residual, branch, weight, bias, 1e-5, late.double())
    stream, normed = add_layer_norm(residual, branch, weight, bias, 1e-5, late)
    near(stream, expected[0], wide)
    near(normed, expected[1])


def test_a_large_mean_costs_no_accuracy(draw, near, dtype, wide):
    residual, branch = 10 + draw(3, 512, dtype=wide), draw(3, 512, dtype=dtype)
    weight, bias = draw(512, dtype=dtype), draw(512, dtype=dtype)
    stream, normed = add_layer_norm(residual, branch, weight, bias, 1e-12)
    # What float32 rounds off the sum is no error of the norm, so the norm is that of the result.
    near(normed, written_out(stream, 0 * branch, weight, bias, 1e-12)[1])


def test_a_constant_row_gives_the_bias(draw, dtype, wide):
    residual, branch = torch.full_like(draw(1, 64, dtype=wide), 3.0), draw(1, 64, dtype=dtype)
    bias = draw(64, dtype=dtype)
    _, normed = add_layer_norm(residual, torch.zeros_like(branch), bias, bias, 1e-12)
    assert torch.equal(normed[0], bias)


def test_no_tokens(draw, dtype, wide):
    weight = draw(8, dtype=dtype)
    branch = draw(0, 8, dtype=dtype)
    stream, normed = add_layer_norm(draw(0, 8, dtype=wide), branch, weight, weight, 1e-12)
    assert (stream.dtype, normed.dtype) == (wide, dtype)
    assert stream.shape == normed.shape == (0, 8)
