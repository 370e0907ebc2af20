"""When torch's flash attention is taken, and how it is called."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tape_bench.kernels import attention, dispatch


@pytest.fixture(autouse=True)
def _look_again():
    find = attention.flash_attention
    find.cache_clear()
    yield
    find.cache_clear()


def install(monkeypatch, varlen_attn):
    module = ModuleType("varlen")
    module.varlen_attn = varlen_attn
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", module)


def test_before_torch_210_there_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", None)
    assert attention.flash_attention() is None


def test_keys_are_not_split_where_they_could_be(monkeypatch):
    install(monkeypatch, lambda q, *, scale=None, num_splits=None: (q, num_splits))
    assert attention.flash_attention()("q") == ("q", 1)


def test_versions_that_split_no_keys_are_called_plainly(monkeypatch):
    install(monkeypatch, lambda q, is_causal=False, return_aux=None: (q, is_causal))
    assert attention.flash_attention()("q") == ("q", False)


def test_this_torch_takes_the_seven_arguments():
    flash = attention.flash_attention()
    if flash is None:
        pytest.skip(f"torch {torch.__version__} has no varlen_attn")
    with FakeTensorMode():
        q = torch.empty(5, 2, 64, dtype=torch.float16, device="cuda")
        offsets = torch.empty(2, dtype=torch.int32, device="cuda")
        assert flash(q, q, q, offsets, offsets, 5, 5).shape == (5, 2, 64)


@pytest.mark.parametrize(
    ("head", "longest", "dtype", "taken"),
    [
        (64, 127, torch.float16, "ours"),
        (64, 128, torch.float16, "flash"),
        (80, 500, torch.bfloat16, "flash"),
        (20, 500, torch.bfloat16, "ours"),
        (8, 500, torch.float16, "reference"),
        (64, 500, torch.float32, "reference"),
    ],
)
def test_head_size_length_and_precision_decide(monkeypatch, head, longest, dtype, taken):
    monkeypatch.setattr(dispatch, "choice", lambda device: (True, ""))
    monkeypatch.setattr(attention, "flash_attention", lambda: lambda *_: "flash")
    monkeypatch.setattr(attention, "_fused", lambda *_: "ours")
    monkeypatch.setattr(attention, "reference", lambda *_: "reference")
    with FakeTensorMode():
        q = torch.empty(500, 2, head, dtype=dtype, device="cuda")
        offsets = torch.empty(2, dtype=torch.int32, device="cuda")
        assert attention.varlen_attention(q, q, q, offsets, longest) == taken
