"""Keywords a user gave, checked against the types of what they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tape_bench.errors import UsageError, unknown_name


def checked(given: Mapping[str, Any], owner: type) -> dict[str, Any]:
    """Return the keywords in the types that the fields of a dataclass are declared with.

    Lists, ranges and arrays become tuples, NumPy's numbers Python's, text a path where a path is
    meant. Nothing else is converted: "3" is no number, and 0 is no list of seeds.

    Raises:
        UsageError: a keyword that the class has no field for, or a value of another type.
    """
    typed = get_type_hints(owner)
    hints = {field.name: typed[field.name] for field in fields(owner)}
    fit = {}
    for name, value in given.items():
        if name not in hints:
            raise unknown_name("setting", name, hints)
        plain = Path(value) if hints[name] is Path and isinstance(value, str) else _plain(value)
        try:
            fit[name] = TypeAdapter(hints[name]).validate_python(plain, strict=True)
        except ValidationError as error:
            expected = error.errors()[0]["msg"]
            raise UsageError(
                f"{name} is given as {value!r}: {expected[0].lower()}{expected[1:]}"
            ) from None
    return fit


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return tuple(map(_plain, value))
    return value
