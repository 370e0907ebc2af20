"""Text that came from somebody else, made fit to be shown: short, and with nothing that steers.

A file may hold letters that move the cursor, colour what follows or turn its direction, and values
that take gigabytes to write out. Whatever of it stands in a message goes through here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any
from urllib.parse import urlsplit, urlunsplit

LONGEST_ID = 1 << 16
"""Letters of the longest id: names of proteins have a few dozen."""

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters but tab and newline, marks of direction, what has no width, half letters."""

_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no name holds: control characters, ends of lines, and halves of letters."""

_WIDEST, _MOST_LINES = 2000, 200
"""Letters of a line, and lines of a message."""

_SHOWN = 60
"""Letters of a value that a message shows."""


def lines(text: str) -> str:
    """Return text of one or more lines that cannot steer a terminal: such letters are spelt out."""
    return _STEERING.sub(_spelt, text)


def cut(text: str) -> str:
    """Return text as far as anybody reads a message: lines that go on and on are cut short."""
    told = [line if len(line) <= _WIDEST else f"{line[:_WIDEST]}…" for line in text.split("\n")]
    more = [f"… and {len(told) - _MOST_LINES} more lines"] if len(told) > _MOST_LINES else []
    return "\n".join([*told[:_MOST_LINES], *more])


def line(text: str) -> str:
    """Return the same as one line, everything unprintable spelt out."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def shown(value: Any, most: int = _SHOWN) -> str:
    """Write a value for a message: what it is, and how it begins, whatever its size and depth."""
    if value is None or isinstance(value, bool | float | complex):
        return repr(value)
    if isinstance(value, int):
        # Python refuses to write out thousands of digits.
        return str(value) if value.bit_length() < 4 * most else "a number of very many digits"
    if isinstance(value, str | bytes | bytearray):
        begins = ascii(value[:most]) if isinstance(value, str) else repr(bytes(value[:most]))
        return begins + ("…" if len(value) > most else "")
    if isinstance(value, Mapping | Sequence | Set):
        return f"a {type(value).__name__} of {len(value)}"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of {value.dtype}, {list(value.shape)}"
    return f"a {type(value).__name__}"


def names(found: Any, most: int = 20) -> str:
    """List names, as of fields or columns, the first of them where they are many."""
    listed = list(found)
    told = [name if isinstance(name, str) else shown(name) for name in listed[:most]]
    cut = [name if len(name) <= _SHOWN else f"{name[:_SHOWN]}…" for name in told]
    more = f", … and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(cut) + more


def fault_of_name(name: str) -> str | None:
    """Say why a text cannot be anybody's name; None where it can."""
    if len(name) > LONGEST_ID:
        return f"has {len(name)} letters, more than {LONGEST_ID}"
    found = _NO_TEXT.search(name)
    if found is None:
        return None
    half = "\ud800" <= found[0] <= "\udfff"
    what = "half a letter (a lone surrogate)" if half else "a control character"
    return f"is no text: it holds {what}, {_escape(found[0])}"


def without_password(address: str) -> str:
    """Return an address without the user and the password in it, for messages."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return re.sub(r"//[^/@]*@", "//***@", address)
    if "@" not in parts.netloc:
        return address
    return urlunsplit(parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}"))


def _spelt(found: re.Match[str]) -> str:
    return _escape(found[0])


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()
