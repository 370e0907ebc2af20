"""`tape-bench protocols`: the ways from a model to predictions, and what can be chosen in each."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, get_type_hints

import click

from tape_bench import keywords, registry
from tape_bench.cli import completion
from tape_bench.cli.options import json_option


@click.command(name="protocols")
@click.argument("name", required=False, shell_complete=completion.protocols)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the protocols, or the options and presets of one.

    \b
    Examples:
        tape-bench protocols
        tape-bench protocols finetune
        tape-bench run hf:esm2_t6_8M --protocol finetune -P preset=schmirler-lora -P epochs=5
    """
    if name is None:
        told = {one: _summary(one) for one in registry.PROTOCOLS}
        if as_json:
            click.echo(json.dumps(told, indent=1))
            return
        width = max(map(len, told))
        for one, summary in told.items():
            click.echo(f"{one:{width}}  {summary}")
        return
    options = _options(name)
    presets = _presets(name)
    if as_json:
        click.echo(json.dumps({"options": options, "presets": presets}, indent=1))
        return
    click.echo(f"{name}: {_summary(name)}\n")
    width = max(map(len, options), default=0)
    for option, (values, default) in options.items():
        said = f"-P {option:{width}}  {values}" + (f" ({default})" if default else "")
        click.echo(click.wrap_text(said, 78, "", " " * (width + 5)))
    for preset, about in presets.items():
        click.echo(f"\npreset={preset}\n{click.wrap_text(about['source'], 78, '  ', '  ')}")
        for what, values in about["values"].items():
            said = ", ".join(f"{n} {_in_words(v)}" for n, v in values.items())
            click.echo(click.wrap_text(f"{what}: {said}", 78, "  ", "    "))


def _summary(name: str) -> str:
    module, _, _ = registry.PROTOCOLS[name].partition(":")
    first = (importlib.import_module(module).__doc__ or "").splitlines()[0]
    return first.partition(": ")[2].rstrip(".")


def _options(name: str) -> dict[str, tuple[str, str]]:
    """Return what each option takes, and its default in words."""
    make: Any = registry.protocol(name)
    if not is_dataclass(make):
        return {}
    hints = get_type_hints(make)
    ours = _recipe() if name == "finetune" else {}
    return {
        field.name: (
            keywords.allowed(hints[field.name]),
            _in_words(ours.get(field.name, field.default))
            if ours.get(field.name, field.default) is not None
            else "",
        )
        for field in fields(make)
    }


def _recipe() -> Mapping[str, Any]:
    from tape_bench.protocols.finetune.recipe import Recipe

    return asdict(Recipe())


def _presets(name: str) -> dict[str, dict[str, Any]]:
    if name != "finetune":
        return {}
    from tape_bench.protocols.finetune.presets import PRESETS

    return {
        preset: {
            "source": one.source,
            "values": {"all tasks": dict(one.values), **one.kinds, **one.tasks},
        }
        for preset, one in PRESETS.items()
    }


def _in_words(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
