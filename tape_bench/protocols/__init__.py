"""Protocols: how one gets from a model to predictions, one folder each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass

from pydantic import JsonValue

from tape_bench import keywords, registry
from tape_bench.errors import UsageError
from tape_bench.protocols.interface import EvaluationProtocol


def load_protocol(name: str, options: Mapping[str, JsonValue] | None = None) -> EvaluationProtocol:
    """Load a protocol by its name, e.g. `probe`.

    Args:
        name: a name that the registry knows.
        options: the protocol's own, such as the probe's `head`.

    Raises:
        UsageError: no such protocol, an option it does not have, or a value of another type.
    """
    make = registry.protocol(name)
    made: object = make(**checked_options(name, options or {}))
    if not isinstance(made, EvaluationProtocol):
        raise UsageError(
            f"what the registry names for the protocol {name} is none",
            where=registry.PROTOCOLS[name],
            fix="give it what tape_bench.protocols.interface.EvaluationProtocol lists",
        )
    return made


def option_names(name: str) -> tuple[str, ...]:
    """Return the names of a protocol's own options.

    Raises:
        UsageError: no such protocol.
    """
    make: Callable[..., object] = registry.protocol(name)
    return tuple(field.name for field in fields(make)) if is_dataclass(make) else ()


def read_options(name: str, given: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return a protocol's options, given as text, in the types it declares.

    Raises:
        UsageError: see `checked_options`.
    """
    make = registry.protocol(name)
    if isinstance(make, type) and is_dataclass(make):
        return keywords.read(f"the protocol {name}", given, make)
    return checked_options(name, dict(given))


def checked_options(name: str, given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return a protocol's options in the types it declares.

    Raises:
        UsageError: no such protocol, an option it does not have, or a value of another type.
    """
    make = registry.protocol(name)
    if isinstance(make, type) and is_dataclass(make):
        return keywords.checked(given, make)
    for option in given:
        raise UsageError(f"the protocol {name} has no option {option!r}")
    return {}
