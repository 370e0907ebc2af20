from __future__ import annotations

import pytest
import torch

from tape_bench.kernels import layer_norm

LONG = [pytest.param(n, marks=pytest.mark.slow) for n in (257, 1023, 2049)]


def written_out(stream, weight, bias, eps, shift=0.0):
    whole = stream.double() + shift
    centred = whole - whole.mean(-1, keepdim=True)
    spread = (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return centred / spread * weight.double() + bias.double()


@pytest.fixture
def wide(dtype):
    """The precision of the residual stream."""
    return torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 127, *LONG])
def test_the_norm_of_a_stream(draw, near, dtype, wide, tokens):
    stream, weight, bias = (
        draw(tokens, 80, dtype=wide),
        draw(80, dtype=dtype),
        draw(80, dtype=dtype),
    )
    near(layer_norm(stream, weight, bias, 1e-12), written_out(stream, weight, bias, 1e-12))


@pytest.mark.parametrize("hidden", [1, 2, 1023, 1024, 2560])
def test_any_width_and_what_is_still_to_be_added(draw, near, dtype, wide, hidden):
    stream, shift = draw(2, 3, hidden, dtype=wide, scale=9), draw(hidden, dtype=wide)
    weight, bias = draw(hidden, dtype=dtype), draw(hidden, dtype=dtype)
    before = stream.clone()
    expected = written_out(stream, weight, bias, 1e-5, shift.double())
    near(layer_norm(stream, weight, bias, 1e-5, shift), expected)
    assert torch.equal(stream, before)


def test_a_large_mean_costs_no_accuracy(draw, near, dtype, wide):
    stream = 10 + draw(3, 512, dtype=wide)
    weight, bias = draw(512, dtype=dtype), draw(512, dtype=dtype)
    near(layer_norm(stream, weight, bias, 1e-12), written_out(stream, weight, bias, 1e-12))


def test_no_tokens(draw, dtype, wide):
    weight = draw(8, dtype=dtype)
    assert layer_norm(draw(0, 8, dtype=wide), weight, weight, 1e-5).shape == (0, 8)


def test_it_is_trained(draw):
    stream, weight = draw(5, 8).requires_grad_(), draw(8).requires_grad_()
    bias, shift = draw(8).requires_grad_(), draw(8).requires_grad_()
    layer_norm(stream, weight, bias, 1e-5, shift).square().sum().backward()
    torch.testing.assert_close(shift.grad, stream.grad.sum(0))
    assert weight.grad.abs().sum() > 0
    assert bias.grad.abs().sum() > 0
