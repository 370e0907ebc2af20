"""Small steps get one thread, large ones all, and afterwards everything is as before."""

from __future__ import annotations

import contextlib

import pytest
import torch
from threadpoolctl import threadpool_info

from tape_bench.heads.catalogue import HEADS
from tape_bench.heads.threads import WORTH_SHARING, enough_threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_small_steps_are_computed_by_one_thread():
    before = [pool["num_threads"] for pool in threadpool_info()]
    with contextlib.suppress(KeyError), enough_threads(1e6):
        assert torch.get_num_threads() == 1
        assert {pool["num_threads"] for pool in threadpool_info()} == {1}
        raise KeyError
    assert torch.get_num_threads() == 2
    assert [pool["num_threads"] for pool in threadpool_info()] == before


@pytest.mark.usefixtures("two_threads")
def test_large_steps_may_have_them_all():
    with enough_threads(WORTH_SHARING):
        assert torch.get_num_threads() == 2


def test_no_control_is_worth_a_second_thread_and_wide_convolutions_are():
    conv = HEADS["token_class"]["tape"]
    assert conv.recipe.batch * conv.units * 26 < WORTH_SHARING
    assert conv.recipe.batch * conv.units * 1024 > WORTH_SHARING
