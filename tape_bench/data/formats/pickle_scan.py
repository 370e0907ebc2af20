"""A look through a pickle's instructions before any of them is obeyed.

A pickle is a program for a machine with a stack. Nine bytes of it have the standard library set
aside gigabytes, and sixty make a value that never ends being written out or hashed. Here the
program is followed without making anything: of each thing on the stack only its size, all that it
holds counted as often as it stands there, and its depth. What a plain record or a checkpoint is
never made of is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

LONGEST_WHOLE = 40
"""Bytes of a whole number: no record and no checkpoint has one of a hundred digits."""


class BrokenPickleError(ValueError):
    """Bytes that are no pickle, or one that asks for more than it could need."""


@dataclass(frozen=True)
class Limits:
    """How large the value of a pickle may be."""

    depth: int = 32
    """Containers within each other."""
    repeats: int = 16
    """Size of the value, in sizes of the pickle: what stands in it twice counts twice."""
    tuple_keys: bool = False
    """Whether a dictionary may have tuples for keys."""


RECORD = Limits()
CHECKPOINT = Limits(depth=64, repeats=256, tuple_keys=True)


class _Thing:
    """What lies on the stack: how large and how deep it is, and whether it lies in another."""

    __slots__ = ("depth", "key", "lies", "size")

    def __init__(self, size: int, depth: int, *, key: bool) -> None:
        self.size = size
        self.depth = depth
        self.key = key
        """Whether it may be a key, and lie in a set."""
        self.lies = False


_SCALAR = _Thing(1, 0, key=True)

_FIXED = {b"K"[0]: 1, b"M"[0]: 2, b"J"[0]: 4, b"G"[0]: 8, b"N"[0]: 0, 0x88: 0, 0x89: 0}
"""Instructions that put a number, a truth value or None on the stack: bytes of their argument."""

_COUNTED = {
    b"X"[0]: 4, b"U"[0]: 1, b"T"[0]: 4, b"B"[0]: 4, b"C"[0]: 1, 0x8C: 1, 0x8D: 8, 0x8E: 8, 0x96: 8,
}  # fmt: skip
"""Those that put text or bytes there: bytes of the length before them."""

_LINES = {b"I"[0], b"L"[0], b"F"[0]}
_TEXT_LINES = {b"S"[0], b"V"[0]}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_PUT_WIDTH, _GET_WIDTH = {b"q"[0]: 1, b"r"[0]: 4}, {b"h"[0]: 1, b"j"[0]: 4}


def scan(content: bytes, limits: Limits = RECORD, start: int = 0) -> int:
    """Follow a pickle's instructions from `start`, and return where it ends.

    Raises:
        BrokenPickleError: says what is wrong with it.
    """
    try:
        return _Machine(content, limits, start).run()
    except IndexError:
        raise BrokenPickleError("it takes more from its stack than lies there") from None


@dataclass
class _Machine:
    """The stack, the parts of it that marks have set aside, and what was noted for later."""

    content: bytes
    limits: Limits
    at: int
    stack: list[_Thing] = field(default_factory=list)
    aside: list[list[_Thing]] = field(default_factory=list)
    memo: dict[int, _Thing] = field(default_factory=dict)

    def run(self) -> int:
        content, size = self.content, len(self.content)
        handlers = _HANDLERS
        while True:
            if self.at >= size:
                raise BrokenPickleError("it is cut short")
            code = content[self.at]
            self.at += 1
            if (width := _FIXED.get(code)) is not None:
                self._skip(width)
                self.stack.append(_SCALAR)
            elif (width := _COUNTED.get(code)) is not None:
                self._text(int.from_bytes(self._take(width), "little"))
            elif code == 0x2E:  # STOP
                self.stack.pop()
                return self.at
            elif (handler := handlers.get(code)) is not None:
                handler(self, code)
            else:
                raise BrokenPickleError(f"byte {self.at - 1} is no instruction of a plain value")

    # What an instruction brings with it.

    def _skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.content):
            raise BrokenPickleError("it is cut short")

    def _take(self, count: int) -> bytes:
        begin = self.at
        self._skip(count)
        return self.content[begin : self.at]

    def _line(self) -> bytes:
        end = self.content.find(b"\n", self.at)
        if end < 0:
            raise BrokenPickleError("it is cut short")
        found, self.at = self.content[self.at : end], end + 1
        return found

    def _text(self, count: int) -> None:
        self._skip(count)
        self._push(_Thing(1 + count, 0, key=True))

    # What lies on the stack.

    def _push(self, thing: _Thing) -> None:
        if thing.depth > self.limits.depth:
            raise BrokenPickleError(f"it is nested more than {self.limits.depth} deep")
        if thing.size > self.limits.repeats * len(self.content) + 4096:
            raise BrokenPickleError("it holds the same things over and over")
        self.stack.append(thing)

    def _make(self, parts: list[_Thing], *, key: bool = False) -> None:
        for part in parts:
            part.lies = part is not _SCALAR
        size = 1 + sum(part.size for part in parts)
        depth = 1 + max((part.depth for part in parts), default=0)
        self._push(_Thing(size, depth, key=key and all(part.key for part in parts)))

    def _add(self, parts: list[_Thing], keys: list[_Thing] | tuple[()] = ()) -> None:
        """Put things into the container on top of the stack, which lies in no other yet."""
        if any(not key.key or (key.depth and not self.limits.tuple_keys) for key in keys):
            raise BrokenPickleError("a key is neither text nor a number")
        outer = self.stack[-1]
        if outer.lies or outer is _SCALAR or any(part is outer for part in parts):
            raise BrokenPickleError("it holds itself")
        for part in parts:
            part.lies = part is not _SCALAR
            outer.size += part.size
            outer.depth = max(outer.depth, 1 + part.depth)
        self._push(self.stack.pop())

    def _marked(self) -> list[_Thing]:
        """Return what lies above the last mark, and go back to what lies below it."""
        parts, self.stack = self.stack, self.aside.pop()
        return parts

    # The instructions themselves.

    def mark(self, code: int) -> None:
        self.aside.append(self.stack)
        self.stack = []

    def pop(self, code: int) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.stack = self.aside.pop()

    def pop_mark(self, code: int) -> None:
        self._marked()

    def number_line(self, code: int) -> None:
        if len(self._line()) > 2 * LONGEST_WHOLE + 20:
            raise BrokenPickleError("a number of very many digits")
        self.stack.append(_SCALAR)

    def text_line(self, code: int) -> None:
        self._push(_Thing(1 + len(self._line()), 0, key=True))

    def long(self, code: int) -> None:
        count = int.from_bytes(self._take(1 if code == 0x8A else 4), "little")
        if count > LONGEST_WHOLE:
            raise BrokenPickleError("a number of very many digits")
        self._skip(count)
        self.stack.append(_SCALAR)

    def empty(self, code: int) -> None:
        self._make([], key=code == 0x29)

    def tuple_of(self, code: int) -> None:
        count = _TUPLES[code]
        if len(self.stack) < count:
            raise IndexError
        parts = self.stack[-count:]
        del self.stack[-count:]
        self._make(parts, key=True)

    def marked_tuple(self, code: int) -> None:
        self._make(self._marked(), key=True)

    def marked_list(self, code: int) -> None:
        self._make(self._marked())

    def marked_set(self, code: int) -> None:
        parts = self._marked()
        self._check_hashable(parts)
        self._make(parts)

    def marked_dict(self, code: int) -> None:
        parts = self._marked()
        self._make([])
        self._add(parts, parts[::2])

    def append(self, code: int) -> None:
        part = self.stack.pop()
        self._add([part])

    def appends(self, code: int) -> None:
        self._add(self._marked())

    def add_items(self, code: int) -> None:
        parts = self._marked()
        self._check_hashable(parts)
        self._add(parts)

    def set_item(self, code: int) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._add([key, value], [key])

    def set_items(self, code: int) -> None:
        parts = self._marked()
        self._add(parts, parts[::2])

    def _check_hashable(self, parts: list[_Thing]) -> None:
        if any(not part.key or part.depth for part in parts):
            raise BrokenPickleError("a set holds something else than text and numbers")

    def put(self, code: int) -> None:
        if code == 0x94:
            index = len(self.memo)
        elif code == 0x70:
            index = self._index_in_line()
        else:
            index = int.from_bytes(self._take(_PUT_WIDTH[code]), "little")
        # Each is noted by an instruction of its own, so there are fewer than bytes.
        if index > self.at:
            raise BrokenPickleError(f"note number {index} in a pickle of {len(self.content)} bytes")
        self.memo[index] = self.stack[-1]

    def get(self, code: int) -> None:
        width = _GET_WIDTH.get(code)
        index = self._index_in_line() if width is None else int.from_bytes(
            self._take(width), "little"
        )  # fmt: skip
        if index not in self.memo:
            raise BrokenPickleError(f"it asks for note number {index}, which it never made")
        self.stack.append(self.memo[index])

    def _index_in_line(self) -> int:
        line = self._line()
        if not line.isdigit() or len(line) > 12:
            raise BrokenPickleError("the number of a note is none")
        return int(line)

    def named(self, code: int) -> None:
        self._line()
        self._line()
        self.stack.append(_SCALAR)

    def named_on_stack(self, code: int) -> None:
        self.stack.pop()
        self.stack.pop()
        self.stack.append(_SCALAR)

    def call(self, code: int) -> None:
        arguments = self.stack.pop()
        self.stack.pop()
        self._opaque([arguments])

    def call_by_keywords(self, code: int) -> None:
        parts = [self.stack.pop(), self.stack.pop()]
        self.stack.pop()
        self._opaque(parts)

    def call_marked(self, code: int) -> None:
        if code == 0x69:
            self._line()
            self._line()
        self._opaque(self._marked())

    def build(self, code: int) -> None:
        self._add([self.stack.pop()])

    def persistent(self, code: int) -> None:
        if code == 0x50:
            self._line()
            self.stack.append(_SCALAR)
        else:
            self._opaque([self.stack.pop()])

    def _opaque(self, parts: list[_Thing]) -> None:
        """Put the result of a call on the stack: as large as what went in, and no key."""
        self._make(parts)

    def protocol(self, code: int) -> None:
        if self._take(1)[0] > 5:
            raise BrokenPickleError("a pickle of a later protocol")

    def frame(self, code: int) -> None:
        if int.from_bytes(self._take(8), "little") > len(self.content) - self.at:
            raise BrokenPickleError("it is cut short")


_HANDLERS: dict[int, Callable[[_Machine, int], None]] = {
    **dict.fromkeys(_LINES, _Machine.number_line),
    **dict.fromkeys(_TEXT_LINES, _Machine.text_line),
    **dict.fromkeys(_TUPLES, _Machine.tuple_of),
    **dict.fromkeys((0x8A, 0x8B), _Machine.long),
    **dict.fromkeys((*b"]})", 0x8F), _Machine.empty),
    **dict.fromkeys((*b"pqr", 0x94), _Machine.put),
    **dict.fromkeys(b"ghj", _Machine.get),
    **dict.fromkeys((b"R"[0], 0x81), _Machine.call),
    **dict.fromkeys(b"io", _Machine.call_marked),
    **dict.fromkeys(b"PQ", _Machine.persistent),
    b"("[0]: _Machine.mark,
    b"0"[0]: _Machine.pop,
    b"1"[0]: _Machine.pop_mark,
    b"t"[0]: _Machine.marked_tuple,
    b"l"[0]: _Machine.marked_list,
    b"d"[0]: _Machine.marked_dict,
    0x91: _Machine.marked_set,
    b"a"[0]: _Machine.append,
    b"e"[0]: _Machine.appends,
    0x90: _Machine.add_items,
    b"s"[0]: _Machine.set_item,
    b"u"[0]: _Machine.set_items,
    b"c"[0]: _Machine.named,
    0x93: _Machine.named_on_stack,
    0x92: _Machine.call_by_keywords,
    b"b"[0]: _Machine.build,
    0x80: _Machine.protocol,
    0x95: _Machine.frame,
}
"""Every instruction but DUP, which no pickler writes, and those for what lies outside the file."""
