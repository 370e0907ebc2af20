"""Keywords a user gave, checked against the types of what they are for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from tape_bench.errors import UsageError, unknown_name

_ANY = ConfigDict(arbitrary_types_allowed=True)
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


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
        typed_value = (
            Path(value) if hints[name] is Path and isinstance(value, str) else plain(value)
        )
        try:
            fit[name] = TypeAdapter(hints[name]).validate_python(typed_value, strict=True)
        except ValidationError as error:
            raise _refused(name, value, error.errors()[0]) from None
    return fit


def fault(error: ValidationError, given: Mapping[str, object]) -> UsageError:
    """Say which of the keywords that a model of pydantic's was made from is wrong, and how."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    return _refused(name, given.get(name), first)


def _refused(name: str, value: object, first: ErrorDetails) -> UsageError:
    if first["type"] == "greater_than_equal":
        return UsageError(f"{name} must be at least {first['ctx']['ge']}, not {value}")
    expected = first["msg"]
    return UsageError(f"{name} is given as {value!r}: {expected[0].lower()}{expected[1:]}")


def read(what: str, given: Mapping[str, str], owner: type) -> dict[str, Any]:
    """Return keywords given as text in the types that the fields of a dataclass are declared with.

    Raises:
        UsageError: names `what` lacks the field, or the text that is none of its values.
    """
    hints = get_type_hints(owner)
    for name in given:
        if name not in hints:
            raise UsageError(
                f"{what} has no option {name!r}", fix=f"it has: {', '.join(hints) or 'none'}"
            )
    return {name: from_text(hints[name], name, text) for name, text in given.items()}


def from_text(hint: Any, name: str, text: str) -> Any:
    """Read text as a value of a type.

    Raises:
        UsageError: it is none.
    """
    try:
        return TypeAdapter(hint, config=_ANY).validate_strings(text)
    except ValidationError:
        if choices := _choices(hint):
            raise unknown_name(name.replace("_", " "), text, choices) from None
        raise UsageError(f"{name} is {allowed(hint)}, not {text!r}") from None


def allowed(hint: Any) -> str:
    """Say in words what a type allows, e.g. `tanh, erf` or `a whole number`."""
    if choices := _choices(hint):
        return ", ".join(choices)
    parts = [part for part in get_args(hint) if part is not type(None)] or [hint]
    return " or ".join(_WORDS.get(part, getattr(part, "__name__", "any")) for part in parts)


def _choices(hint: Any) -> list[str]:
    """Return the values of a `Literal`, also of one that may be None."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [value for part in get_args(hint) for value in _choices(part)]


def plain(value: Any) -> Any:
    """Return lists, ranges and arrays as tuples, and NumPy's numbers as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return tuple(map(plain, value))
    return value
