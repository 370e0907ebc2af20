"""When torch's flash attention is taken, and how it is called."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tape_bench.kernels import attention, dispatch

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def _look_again():
    find = attention.flash_attention
    find.cache_clear()
    yield
    find.cache_clear()


def test_a_cpu_has_none():
    assert attention.flash_attention(torch.device("cpu")) is None


@pytest.fixture
def tried(monkeypatch):
    """Try flash attention as if there were a GPU, by what stands in for torch's operator."""

    def tried(operator):
        monkeypatch.setattr(attention, "_flash", operator)
        linspace, tensor = torch.linspace, torch.tensor
        monkeypatch.setattr(torch, "linspace", lambda *a, device: linspace(*a))
        monkeypatch.setattr(torch, "tensor", lambda *a, device, **k: tensor(*a, **k))
        return attention.flash_attention(GPU)

    return tried


def rightly(query, key, value, offsets, longest):
    wide = (x.float() for x in (query, key, value))
    return attention.reference(*wide, offsets).to(query.dtype)


def test_what_computes_rightly_is_taken(tried):
    assert tried(rightly) is rightly


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, AttributeError, TypeError])
def test_what_this_torch_cannot_do_is_not_taken(tried, error):
    def refuses(*_):
        raise error("unexpected argument")

    assert tried(refuses) is None


def test_what_computes_something_else_is_not_taken(tried):
    assert tried(lambda *given: rightly(*given).flip(0)) is None
    assert tried(lambda *given: rightly(*given) * torch.nan) is None


def test_this_torch_takes_the_ten_arguments():
    with FakeTensorMode():
        q = torch.empty(5, 2, 64, dtype=torch.float16, device="cuda")
        offsets = torch.empty(2, dtype=torch.int32, device="cuda")
        assert attention._flash(q, q, q, offsets, 5).shape == (5, 2, 64)


@pytest.mark.parametrize(
    ("head", "longest", "dtype", "taken"),
    [
        (64, 127, torch.float16, "ours"),
        (64, 500, torch.float16, "ours"),
        (32, 500, torch.float16, "ours"),
        (80, 127, torch.float16, "ours"),
        (80, 128, torch.float16, "flash"),
        (128, 128, torch.float16, "flash"),
        (24, 45, torch.float16, "flash"),
        (40, 45, torch.float16, "flash"),
        (80, 500, torch.bfloat16, "flash"),
        (20, 500, torch.bfloat16, "ours"),
        (8, 500, torch.float16, "reference"),
        (64, 500, torch.float32, "reference"),
    ],
)
def test_head_size_length_and_precision_decide(monkeypatch, head, longest, dtype, taken):
    monkeypatch.setattr(dispatch, "choice", lambda device: (True, ""))
    monkeypatch.setattr(attention, "flash_attention", lambda device: lambda *_: "flash")
    monkeypatch.setattr(attention, "_fused", lambda *_: "ours")
    monkeypatch.setattr(attention, "reference", lambda *_: "reference")
    with FakeTensorMode():
        q = torch.empty(500, 2, head, dtype=dtype, device="cuda")
        offsets = torch.empty(2, dtype=torch.int32, device="cuda")
        assert attention.varlen_attention(q, q, q, offsets, longest) == taken


def test_a_second_part_with_empty_columns_is_not_ours_on_a_gpu(monkeypatch):
    monkeypatch.setattr(dispatch, "choice", lambda device: (True, ""))
    monkeypatch.setattr(attention, "flash_attention", lambda device: None)
    monkeypatch.setattr(attention, "_fused", lambda *_: "ours")
    monkeypatch.setattr(attention, "reference", lambda *_: "reference")
    with FakeTensorMode():
        offsets = torch.empty(2, dtype=torch.int32, device="cuda")
        for head, taken in ((40, "reference"), (64, "ours"), (80, "ours")):
            q = torch.empty(50, 2, head, dtype=torch.float16, device="cuda")
            assert attention.varlen_attention(q, q, q, offsets, 50) == taken
