from __future__ import annotations

import builtins
import contextlib
import datetime
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from tape_bench.data.formats.unpickle import loads
from tape_bench.errors import DataError


class _Calls:
    """Pickles as a call of any function: how malicious pickles are made."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@settings(max_examples=60, deadline=None)
@given(
    array=st_numpy.arrays(
        st.sampled_from(["<f4", ">f8", "<i4", "i8", "i2", "u1", "?", "<U3", "S2", "<c8"]),
        st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
    protocol=st.integers(0, 5),
    column_major=st.booleans(),
)
def test_arrays_come_back_as_numpy_pickled_them(
    array: np.ndarray, protocol: int, column_major: bool
) -> None:
    if column_major:
        array = np.asfortranarray(array)
    record = {"values": array, "scalar": np.float32(1.5), "length": 3}
    found = loads(pickle.dumps(record, protocol), where="here")
    assert found["values"].dtype == array.dtype
    np.testing.assert_array_equal(found["values"], array)
    assert found["scalar"] == np.float32(1.5)
    assert found["scalar"].dtype == np.float32
    assert found["length"] == 3


def test_names_of_both_numpy_generations_are_known() -> None:
    new = pickle.dumps({"v": np.arange(3.0)}, protocol=2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != new or b"numpy.core.multiarray" in new
    for content in (old, new):
        np.testing.assert_array_equal(loads(content, where="here")["v"], [0.0, 1.0, 2.0])


def test_plain_containers_come_back() -> None:
    value = {"a": [1, (2.5, None, True)], "b": {"c": b"bytes"}, "d": {1, 2}, "e": frozenset("x")}
    for protocol in range(6):
        assert loads(pickle.dumps(value, protocol), where="here") == value


@pytest.mark.parametrize(
    "function",
    [os.system, builtins.eval, builtins.exec, builtins.getattr, builtins.open, print, bytearray],
)
def test_a_malicious_pickle_is_refused_and_not_run(function: Any, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    arguments = {
        os.system: (f"touch {canary}",),
        open: (str(canary), "w"),
    }.get(function, (f"open({str(canary)!r}, 'w')",))
    content = pickle.dumps({"primary": _Calls(function, *arguments)})
    with pytest.raises(DataError, match="nothing was run") as caught:
        loads(content, where="some.lmdb, record 3")
    assert f".{function.__name__}" in caught.value.what
    assert caught.value.where == "some.lmdb, record 3"
    assert not canary.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([{"a": 1}, None], object),
        np.zeros(2, [("x", "f4"), ("y", "i4")]),
        np.array(["2020-01-01"], "datetime64[D]"),
        datetime.date(2020, 1, 1),
        Path("x"),
        np.float32,
    ],
    ids=["object array", "structured array", "dates", "date", "path", "class"],
)
def test_everything_that_is_no_plain_value_is_refused(value: Any) -> None:
    for protocol in range(6):
        with pytest.raises(DataError, match=r"no plain value|broken"):
            loads(pickle.dumps({"v": value}, protocol), where="here")


def test_a_type_cannot_be_given_a_structure_after_the_fact() -> None:
    # As numpy would be told that four plain bytes are a field holding a Python object.
    honest = pickle.dumps(np.dtype("f4"), protocol=2)
    assert any(op.name == "BUILD" for op, _, _ in pickletools.genops(honest))
    state = (3, "|", None, ("a",), {"a": (np.dtype("f4"), 0)}, 8, 1, 0)
    call = _Calls(np.dtype, "V8", False, True)
    for crafted in (_Built(call, state), _Built(_Calls(np.dtype, "f4", False, True), state)):
        with pytest.raises(DataError, match="NumPy type"):
            loads(pickle.dumps({"v": crafted}, protocol=2), where="here")


class _Built:
    """Pickles as an object whose state is set afterwards."""

    def __init__(self, made: _Calls, state: Any) -> None:
        self.made, self.state = made, state

    def __reduce__(self) -> Any:
        return (*self.made.call, self.state)


def test_what_a_pickle_may_name_cannot_be_altered_by_it() -> None:
    honest = pickle.dumps({"v": np.arange(3)}, protocol=2)
    for target in ("numpy.dtype", "numpy.core.multiarray._reconstruct", "_codecs.encode"):
        module, name = target.rsplit(".", 1)
        # GLOBAL of the name, then BUILD with the attributes to set on it.
        content = f"c{module}\n{name}\n(N(dS'real'\nI1\nstb.".encode()
        with pytest.raises(DataError):
            loads(content, where="here")
    np.testing.assert_array_equal(loads(honest, where="here")["v"], [0, 1, 2])


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80", b"no pickle", b"\x80\x03}", b"r\xff\xff\xff\x7f.", b"(lp0\ng7\n."],
)
def test_broken_bytes_are_an_error_of_ours(content: bytes) -> None:
    with pytest.raises(DataError, match="broken"):
        loads(content, where="here")


@given(content=st.binary(max_size=60))
def test_any_bytes_are_either_a_value_or_an_error_of_ours(content: bytes) -> None:
    with contextlib.suppress(DataError):
        loads(content, where="here")


@given(cut=st.integers(0, 400))
def test_a_record_cut_anywhere_is_an_error_of_ours(cut: int) -> None:
    content = pickle.dumps({"primary": "MKV", "ss3": np.arange(3)}, protocol=3)
    with pytest.raises(DataError, match="broken"):
        loads(content[: min(cut, len(content) - 1)], where="here")
