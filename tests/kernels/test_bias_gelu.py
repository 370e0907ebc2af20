from __future__ import annotations

import pytest
import torch

from tape_bench.kernels import bias_gelu, linear_gelu

# Megatron's sqrt(2/pi), as far as it writes it.
ROOT = 0.79788456
LONG = [pytest.param(n, marks=pytest.mark.slow) for n in (257, 1023, 2049)]


def written_out(x, form):
    bend = torch.tanh(ROOT * (x + 0.044715 * x**3)) if form == "tanh" else torch.erf(x / 2**0.5)
    return 0.5 * x * (1 + bend)


@pytest.mark.parametrize("form", ["tanh", "erf"])
@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 127, *LONG])
def test_it_is_gelu_of_the_sum(draw, near, dtype, tokens, form):
    x, bias = draw(tokens, 48, dtype=dtype, scale=2), draw(48, dtype=dtype)
    near(bias_gelu(x, bias, form), written_out(x.double() + bias.double(), form))


@pytest.mark.parametrize("form", ["tanh", "erf"])
@pytest.mark.parametrize("channels", [1, 1023, 2049])
def test_any_number_of_channels(draw, near, dtype, channels, form):
    x, bias = draw(2, 3, channels, dtype=dtype), draw(channels, dtype=dtype)
    near(bias_gelu(x, bias, form), written_out(x.double() + bias.double(), form))


@pytest.mark.parametrize("form", ["tanh", "erf"])
def test_far_from_zero_it_is_zero_or_the_sum_itself(draw, dtype, form):
    x = draw(1, 4, dtype=dtype) * 0 + torch.tensor([-60000.0, -30.0, 30.0, 60000.0]).to(dtype)
    bend = bias_gelu(x, torch.zeros_like(x[0]), form)
    assert bend.tolist() == [[0.0, 0.0, *x[0, 2:].tolist()]]


def test_a_linear_map_before_it(draw, near, dtype):
    x, weight = draw(65, 32, dtype=dtype), draw(64, 32, dtype=dtype, scale=0.2)
    bias = draw(64, dtype=dtype)
    expected = written_out(x.double() @ weight.double().T + bias.double(), "tanh")
    near(linear_gelu(x, weight, bias, "tanh"), expected)


def test_no_tokens(draw, dtype):
    assert bias_gelu(draw(0, 8, dtype=dtype), draw(8, dtype=dtype), "tanh").shape == (0, 8)


@pytest.mark.parametrize("form", ["tanh", "erf"])
@pytest.mark.parametrize("shape", [(0, 8), (8,), (1, 8), (3, 67, 8)])
def test_a_wide_map(draw, near, dtype, shape, form):
    # Wide enough that a CPU takes it in several blocks.
    x, weight = draw(*shape, dtype=dtype), draw(2048, 8, dtype=dtype)
    bias = draw(2048, dtype=dtype)
    expected = written_out(x.double() @ weight.double().T + bias.double(), form)
    near(linear_gelu(x, weight, bias, form), expected)


def test_a_map_far_from_zero(draw, dtype):
    one = draw(1, 1, dtype=dtype) * 0 + 1
    x = one * torch.tensor([[-6e4], [-30.0], [0.0], [30.0], [6e4]]).to(one)
    bend = linear_gelu(x, one, one[0] * 0, "tanh")
    assert bend.flatten().tolist() == [0.0, 0.0, *x[2:].flatten().tolist()]


def test_a_map_that_is_trained(draw, near, dtype):
    x, weight, bias = draw(5, 8, dtype=dtype), draw(16, 8, dtype=dtype), draw(16, dtype=dtype)
    before = x.clone()
    still = linear_gelu(x, weight, bias, "tanh")
    trained = linear_gelu(x, weight.requires_grad_(), bias, "tanh")
    near(still, trained.detach().double())
    trained.sum().backward()
    assert torch.isfinite(weight.grad).all()
    assert torch.equal(x, before)
