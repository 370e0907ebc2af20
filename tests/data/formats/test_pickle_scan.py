from __future__ import annotations

import argparse
import io
import pickle
import time
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.data.formats.pickle_scan import CHECKPOINT, BrokenPickleError, scan
from tape_bench.data.formats.unpickle import loads
from tape_bench.errors import DataError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**200), 2**200) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    | st.sets(st.integers() | st.text(), max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(value=PLAIN, protocol=st.integers(0, 5))
def test_what_picklers_write_is_let_through_to_its_end(value: Any, protocol: int) -> None:
    content = pickle.dumps(value, protocol)
    assert scan(content) == len(content)
    assert scan(content + b"rest") == len(content)


@pytest.mark.parametrize("protocol", range(6))
def test_records_and_checkpoints_are_let_through(protocol: int) -> None:
    shared = np.arange(20)
    record = {"primary": "MKV", "ss3": shared, "again": shared, "score": np.float32(1.0)}
    scan(pickle.dumps(record, protocol))
    state = OrderedDict(model=OrderedDict(a={"b": 1}), args=argparse.Namespace(heads=2))
    scan(pickle.dumps(state, protocol), CHECKPOINT)


def test_files_of_torch_of_both_makes_are_let_through() -> None:
    linear = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(linear.parameters())
    linear(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"model": linear.state_dict(), "optimizer": optimizer.state_dict()}
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=False)
    end = 0
    for _ in range(5):
        end = scan(file.getvalue(), CHECKPOINT, end)
    assert end < len(file.getvalue())


def doubled(times: int, tuples: bool = True) -> bytes:
    """Hold twice what was made before, by notes rather than by DUP."""
    made = [b"\x80\x02]q\x00"] if not tuples else [b"\x80\x02)q\x00"]
    for number in range(times):
        note = bytes([number])
        join = b"\x86" if tuples else b"]h" + note + b"a" + b"h" + note + b"a"
        take = b"h" + note + b"h" + note + join if tuples else join
        made.append(take + b"q" + bytes([number + 1]))
    return b"".join(made) + b"."


CRAFTED = {
    "a large note": b"\x80\x02}r\xff\xff\xff\x0f.",
    "sixty DUP TUPLE2": b"\x80\x02)" + b"2\x86" * 60 + b".",
    "tuples of notes": doubled(60),
    "lists of notes": doubled(60, tuples=False),
    "a tuple for a key": b"\x80\x02}" + b"(" + b"K\x01K\x02t" + b"K\x01s.",
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "two that hold each other": b"\x80\x02]q\x00]q\x01h\x00a0h\x00h\x01a.",
    "deep": b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".",
    "text that is not there": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "bytes that are not there": b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\x00\x00abc.",
    "a number of many digits": b"L" + b"9" * 5000 + b"L\n.",
    "a long of many bytes": b"\x80\x02\x8b\x00\x10\x00\x00" + b"\x7f" * 4096 + b".",
    "a frame that is not there": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fK\x01.",
    "a note that was never made": b"\x80\x02h\x07.",
    "nothing on the stack": b"\x80\x02.",
    "no mark": b"\x80\x02t.",
    "an instruction of nobody": b"\x80\x02\xfe.",
    "cut short": b"\x80\x02}",
    "nothing": b"",
}


@pytest.mark.parametrize("content", CRAFTED.values(), ids=CRAFTED)
@pytest.mark.parametrize("before", [b"", b"\x80\x02}X\x02\x00\x00\x00id"], ids=["alone", "field"])
def test_crafted_pickles_are_refused_at_once(content: bytes, before: bytes) -> None:
    whole = before + content.removeprefix(b"\x80\x02")[:-1] + b"s." if before else content
    started = time.perf_counter()
    with pytest.raises(DataError, match="broken"):
        loads(whole, where="here")
    assert time.perf_counter() - started < 1


@given(content=st.binary(max_size=200))
def test_any_bytes_end_in_a_place_or_an_error_of_ours(content: bytes) -> None:
    for limits in (None, CHECKPOINT):
        try:
            end = scan(content) if limits is None else scan(content, limits)
        except BrokenPickleError:
            continue
        assert 0 < end <= len(content)
