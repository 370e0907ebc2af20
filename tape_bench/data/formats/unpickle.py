"""Pickled records read without running anything a pickle may ask for.

A pickle is a program: it names functions and has them called. This reader knows the few names
that NumPy arrays and plain containers need, stands in for each with a function of its own, and
refuses every other name. Not even NumPy's own rebuilding code sees the file's content: arrays
are made here, from a plain type code, a shape and bytes. By then `pickle_scan` has seen that the
program makes nothing that never ends.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tape_bench import text
from tape_bench.data.formats.pickle_scan import BrokenPickleError, scan
from tape_bench.errors import DataError

_TYPE_CODE = re.compile(r"[<>|=]?(?:[biufc]\d+|[SU]\d+|\?)")


def loads(content: bytes, *, where: str) -> Any:
    """Rebuild a pickled value made of plain Python values and NumPy arrays.

    Args:
        content: the pickle.
        where: file and record, for messages.

    Raises:
        DataError: the pickle is cut short or broken, or names anything else; nothing is run.
    """
    try:
        scan(content)
        return _real(_Unpickler(io.BytesIO(content)).load())
    except _RefusedError as error:
        raise DataError(
            f"the pickled record asks for {error}, which is no plain value; nothing was run",
            where=where,
            fix="do not trust this file; fetch the data again from its source",
        ) from None
    except _BROKEN as error:
        raise DataError(
            f"the pickled record is broken ({error or type(error).__name__})",
            where=where,
            fix="fetch the data again",
        ) from error


class _RefusedError(pickle.UnpicklingError):
    """A name that is not admitted."""


_BROKEN = (
    pickle.UnpicklingError, AttributeError, BrokenPickleError, EOFError, ImportError, LookupError,
    MemoryError, OverflowError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What the standard library's unpickler raises on bytes that are no pickle."""


class _Dtype:
    """Stands in for a NumPy element type while a pickle is read."""

    __slots__ = ("real",)

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or not _TYPE_CODE.fullmatch(code):
            raise _RefusedError(f"the NumPy type {text.shown(code)}")
        self.real = np.dtype(code)

    def __setstate__(self, state: tuple[object, ...]) -> None:
        order, *structure = state[1:5]
        if structure != [None, None, None] or order not in ("<", ">", "|", "="):
            raise _RefusedError("a structured NumPy type")
        self.real = self.real.newbyteorder(order)


class _Array:
    """Stands in for a NumPy array until its content is known."""

    __slots__ = ("real",)

    def __init__(self) -> None:
        self.real = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, column_major, content = state
        self.real = _shaped(content, dtype, shape, "F" if column_major else "C")


def _shaped(content: object, dtype: object, shape: Any, order: Any) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(content, (bytes, bytearray)):
        raise _RefusedError("an array of Python objects")
    return np.frombuffer(content, dtype.real).reshape(shape, order=order)


def _real(value: Any) -> Any:
    """Put real arrays in the place of their stand-ins, in a value or a record's fields."""
    if isinstance(value, dict):
        return {
            name: field.real if isinstance(field, (_Array, _Dtype)) else field
            for name, field in value.items()
        }
    return value.real if isinstance(value, (_Array, _Dtype)) else value


# Instances without attributes, rather than functions or classes: a pickle may set attributes of
# whatever it names, and these have none to set.


class _MakeDtype:
    __slots__ = ()

    def __call__(self, code: object, *_: object) -> _Dtype:
        return _Dtype(code)


class _MakeArray:
    __slots__ = ()

    def __call__(self, *_: object) -> _Array:
        return _Array()


class _MakeArrayFromBuffer:
    __slots__ = ()

    def __call__(self, content: object, dtype: object, shape: Any, order: Any) -> _Array:
        array = _Array()
        array.real = _shaped(content, dtype, shape, order)
        return array


class _MakeScalar:
    __slots__ = ()

    def __call__(self, dtype: object, content: object) -> Any:
        return _shaped(content, dtype, (), "C")[()]


class _MakeBytes:
    """Protocols 0 to 2 write bytes as text in Latin-1."""

    __slots__ = ()

    def __call__(self, letters: str, encoding: str) -> bytes:
        if encoding not in ("latin1", "latin-1"):
            raise _RefusedError(f"the encoding {text.shown(encoding)}")
        return letters.encode("latin-1")


class _MakeNoBytes:
    """How protocols 0 to 2 write bytes of which there are none."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


_ADMITTED: Mapping[tuple[str, str], object] = {
    ("numpy", "ndarray"): "the kind of array, which is always numpy.ndarray",
    ("numpy", "dtype"): _MakeDtype(),
    ("_codecs", "encode"): _MakeBytes(),
    ("__builtin__", "bytes"): _MakeNoBytes(),
    **{(module, "set"): set for module in ("builtins", "__builtin__")},
    **{(module, "frozenset"): frozenset for module in ("builtins", "__builtin__")},
    # NumPy 2 moved its core; files name where it was when they were written.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _MakeArray() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _MakeScalar() for core in ("core", "_core")},
    **{
        (f"numpy.{core}.numeric", "_frombuffer"): _MakeArrayFromBuffer()
        for core in ("core", "_core")
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise _RefusedError(f"{module}.{name}"[:200]) from None
