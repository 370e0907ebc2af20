from __future__ import annotations

import pytest
import torch

from tape_bench.kernels import bias_gelu

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
    x0 = draw(1, 4, dtype=dtype)
    x = x0 * 0 + torch.tensor([-60000.0, -30.0, 30.0, 60000.0]).to(x0)
    bend = bias_gelu(x, torch.zeros_like(x[0]), form)
    assert bend.tolist() == [[0.0, 0.0, *x[0, 2:].tolist()]]


def test_no_tokens(draw, dtype):
    assert bias_gelu(draw(0, 8, dtype=dtype), draw(8, dtype=dtype), "tanh").shape == (0, 8)
