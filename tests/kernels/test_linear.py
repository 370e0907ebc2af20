"""Linear maps: what products in float64 give, in the arithmetic that suits the device."""

from __future__ import annotations

import sys
from types import MappingProxyType

import pytest
import torch

from tape_bench.kernels import (
    adds_for_free,
    arithmetic,
    linear,
    linear_gelu,
    linear_onto,
    sums_on_gpu,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
HALF = [torch.float16, torch.bfloat16]
MAPS = sys.modules[linear.__module__]


def bent(x, form):
    bend = (
        torch.tanh(0.79788456 * (x + 0.044715 * x**3)) if form == "tanh" else torch.erf(x / 2**0.5)
    )
    return 0.5 * x * (1 + bend)


@pytest.fixture(params=["fast", "slow"])
def bfloat16(request, monkeypatch):
    """A processor that is fast in bfloat16, and one that is not, whatever this one is."""
    monkeypatch.setattr(MAPS, "_fast_bfloat16", lambda: request.param == "fast")


@pytest.fixture
def at_work(near, dtype, bfloat16):
    """Assert that a result is as near to float64 as the precision it is computed in allows."""

    def at_work(result, expected):
        near(result, expected, arithmetic(dtype, result.device))

    return at_work


@pytest.fixture
def processor(monkeypatch):
    """Answer what a processor of these capabilities would."""

    def processor(**capabilities):
        there = MappingProxyType(capabilities)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: there, raising=False)
        MAPS._fast_bfloat16.cache_clear()

    yield processor
    MAPS._fast_bfloat16.cache_clear()


@pytest.mark.parametrize("shape", [(0, 8), (8,), (1, 8), (3, 67, 8)])
@pytest.mark.parametrize("biased", [True, False])
def test_it_is_a_product(draw, at_work, dtype, shape, biased):
    x, weight, bias = draw(*shape, dtype=dtype), draw(33, 8, dtype=dtype), draw(33, dtype=dtype)
    expected = x.double() @ weight.double().T + (bias.double() if biased else 0)
    at_work(linear(x, weight, bias if biased else None), expected)


def test_a_wider_input_loses_nothing_where_the_weights_are_widened(draw, dtype, monkeypatch):
    monkeypatch.setattr(MAPS, "_fast_bfloat16", lambda: False)
    x, weight, bias = draw(5, 8), draw(33, 8, dtype=dtype), draw(33, dtype=dtype)
    found = linear(x, weight, bias)
    exact = x.double() @ weight.double().T + bias.double()
    if x.device.type == "cpu":
        assert (found.double() - exact).norm() <= 1e-6 * exact.norm()
    else:
        assert found.dtype == dtype


@pytest.mark.parametrize("shape", [(0, 8), (1, 8), (3, 67, 8)])
def test_onto_the_stream(draw, near, dtype, shape):
    x, weight, bias = draw(*shape, dtype=dtype), draw(33, 8, dtype=dtype), draw(33, dtype=dtype)
    stream = draw(*shape[:-1], 33)
    if not adds_for_free(stream, weight):
        pytest.skip("the next layer norm adds here")
    exact = stream.double() + x.double() @ weight.double().T + bias.double()
    before = stream.clone()
    near(linear_onto(stream, x, weight, bias), exact, torch.float32)
    assert torch.equal(stream, before)
    with torch.no_grad():
        near(linear_onto(stream, x, weight, bias), exact, torch.float32)


def test_a_stream_without_bias(draw, near):
    x, weight, stream = draw(5, 8), draw(33, 8), draw(5, 33)
    exact = stream.double() + x.double() @ weight.double().T
    with torch.no_grad():
        near(linear_onto(stream.clone(), x, weight, None), exact, torch.float32)


@pytest.mark.parametrize("shape", [(1, 64), (3, 67, 64)])
def test_a_gpu_adds_half_precision_to_a_float32_stream(draw, near, dtype, shape):
    x, weight = draw(*shape, dtype=dtype), draw(48, 64, dtype=dtype)
    stream = draw(*shape[:-1], 48)
    if not sums_on_gpu(stream, weight):
        pytest.skip("the next layer norm adds here")
    exact = stream.double() + x.double() @ weight.double().T
    before = stream.clone()
    near(linear_onto(stream, x, weight, None), exact, torch.float32)
    assert torch.equal(stream, before)
    with torch.no_grad():
        near(linear_onto(stream, x, weight, None), exact, torch.float32)
    assert not torch.equal(stream, before)


def test_without_a_gpu_there_are_no_sums_in_products():
    wide = torch.ones(2, 2)
    assert not sums_on_gpu(wide, wide)
    assert not sums_on_gpu(wide, wide.half())


def test_an_operation_that_torch_lacks_or_does_otherwise_is_not_taken():
    exact = torch.ones(3)

    def lacking():
        raise RuntimeError("no such overload")

    assert MAPS._agrees(lambda: exact.clone(), exact)
    assert not MAPS._agrees(lacking, exact)
    assert not MAPS._agrees(lambda: exact * 1.1, exact)
    assert not MAPS._agrees(lambda: exact * torch.nan, exact)


def test_onto_a_stream_that_is_trained(draw):
    x, weight, bias = draw(5, 8), draw(33, 8).requires_grad_(), draw(33).requires_grad_()
    stream = draw(5, 33).requires_grad_()
    linear_onto(stream, x, weight, bias).sum().backward()
    assert torch.equal(stream.grad, torch.ones_like(stream))
    assert torch.equal(bias.grad, torch.full_like(bias, 5))
    torch.testing.assert_close(weight.grad, x.sum(0).expand_as(weight))


def test_only_a_cpu_adds_to_a_float32_stream(processor, monkeypatch):
    monkeypatch.delenv("TAPE_BENCH_KERNELS", raising=False)
    processor(amx_bf16=True)
    wide, exact = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.float64)
    assert adds_for_free(wide, wide)
    assert adds_for_free(wide, wide.half())
    assert not adds_for_free(wide, wide.bfloat16())
    assert not adds_for_free(exact, exact)
    assert not adds_for_free(torch.ones(2, 2, device="meta"), wide)


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": False}, False),
        ({"cpu_name": "AMD EPYC 9B14", "avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "AMD EPYC 7B13", "avx512_bf16": False}, False),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({"avx512_bf16": True}, False),
        ({}, False),
    ],
)
def test_which_processors_are_fast_in_bfloat16(processor, capabilities, fast):
    processor(**capabilities)
    assert arithmetic(torch.bfloat16, CPU) == (torch.bfloat16 if fast else torch.float32)
    assert arithmetic(torch.float16, CPU) == torch.float32
    assert {arithmetic(dtype, GPU) for dtype in HALF} == set(HALF)
    assert arithmetic(torch.float64, CPU) == torch.float64


def test_a_linear_map_before_it(draw, at_work, dtype):
    x, weight = draw(65, 32, dtype=dtype), draw(64, 32, dtype=dtype, scale=0.2)
    bias = draw(64, dtype=dtype)
    expected = bent(x.double() @ weight.double().T + bias.double(), "tanh")
    at_work(linear_gelu(x, weight, bias, "tanh"), expected)


@pytest.mark.parametrize("form", ["tanh", "erf"])
@pytest.mark.parametrize("shape", [(0, 8), (8,), (1, 8), (3, 67, 8)])
def test_a_wide_map(draw, at_work, dtype, shape, form):
    # Wide enough that a CPU takes it in several blocks.
    x, weight = draw(*shape, dtype=dtype), draw(2048, 8, dtype=dtype)
    bias = draw(2048, dtype=dtype)
    expected = bent(x.double() @ weight.double().T + bias.double(), form)
    at_work(linear_gelu(x, weight, bias, form), expected)


def test_a_map_far_from_zero(draw, dtype):
    one = draw(1, 1, dtype=dtype) * 0 + 1
    x = one * torch.tensor([[-6e4], [-30.0], [0.0], [30.0], [6e4]]).to(one)
    bend = linear_gelu(x, one, one[0] * 0, "tanh")
    assert bend.flatten().tolist() == [0.0, 0.0, *x[2:].flatten().tolist()]


def test_a_map_that_is_trained(draw, at_work, dtype):
    x, weight, bias = draw(5, 8, dtype=dtype), draw(16, 8, dtype=dtype), draw(16, dtype=dtype)
    before = x.clone()
    still = linear_gelu(x, weight, bias, "tanh")
    trained = linear_gelu(x, weight.requires_grad_(), bias, "tanh")
    at_work(still, trained.detach().double())
    trained.sum().backward()
    assert torch.isfinite(weight.grad).all()
    assert torch.equal(x, before)
