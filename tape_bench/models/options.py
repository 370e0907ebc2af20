"""Options of a family of models: its loader's keyword parameters, typed and explained there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from tape_bench.errors import UsageError
from tape_bench.keywords import allowed, from_text

EVERYBODYS = ("dtype", "device", "layer")
"""Options with flags of their own, for every family."""
_OURS = ("tensor_parallel",)
"""What the executor hands over, and nobody types."""


@dataclass(frozen=True)
class Option:
    """One option of a family."""

    name: str
    values: str
    """What it takes, e.g. `megatron, fork` or `int`."""
    about: str
    """What its loader says of it."""


def options_of(loader: Callable[..., Any]) -> list[Option]:
    """List the options that a family has of its own, from its loader's signature and docstring."""
    told = _told(inspect.getdoc(loader) or "")
    hints = _hints(loader)
    return [
        Option(name, allowed(hints.get(name, str)), told.get(name, ""))
        for name in _names(loader)
        if name not in (*EVERYBODYS, *_OURS)
    ]


def checked(spec: str, loader: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options in the types that a loader declares; text is read as one of them.

    Raises:
        UsageError: an option the loader does not have, or a value that it cannot be.
    """
    names = _names(loader)
    if any(one.kind is one.VAR_KEYWORD for one in _parameters(loader)):
        names = [*names, *given]
    hints, fit = _hints(loader), {}
    for name, value in given.items():
        if name not in names:
            offered = [one for one in names if one not in _OURS]
            raise UsageError(
                f"{spec.partition(':')[0]!r} has no option {name!r}",
                fix=f"it has: {', '.join(offered)}" if offered else "it has none",
            )
        # What is no text comes from Python, where type checkers have their say.
        fit[name] = (
            from_text(hints.get(name, str), name, value) if isinstance(value, str) else value
        )
    return fit


def _parameters(loader: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(loader).parameters.values())[1:]


def _names(loader: Callable[..., Any]) -> list[str]:
    return [one.name for one in _parameters(loader) if one.kind is not one.VAR_KEYWORD]


def _hints(loader: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(loader)
    except (NameError, TypeError):  # an installed package's, that tells type checkers only
        return {}


def _told(docstring: str) -> dict[str, str]:
    """Read the `Args:` of a docstring."""
    part = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if not part:
        return {}
    entries = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", part[1], re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in entries}
