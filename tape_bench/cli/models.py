"""`tape-bench models`: what can be scored."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from tape_bench import registry, text
from tape_bench.cli import completion
from tape_bench.cli.options import json_option, load, model_options


@click.command(name="models")
@click.argument("spec", required=False, shell_complete=completion.models)
@model_options
@json_option
def command(spec: str | None, as_json: bool, **options: Any) -> None:
    """List the families of models, say what options one has, or load a model and say who it is.

    \b
    Examples:
        tape-bench models
        tape-bench models proteinlm
        tape-bench models proteinlm:checkpoints/3b -M reading=fork
        tape-bench models hf
        tape-bench models hf:esm2_t6_8M

    \b
    The shape of an untrained network, random:CONFIG.json, is a file such as:
        {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
         "max_position_embeddings": 512, "layer_norm_eps": 1e-12, "hidden_act": "gelu_new"}
    """
    families = registry.models()
    if spec in families and ":" in families[spec].usage:
        _print_family(families[spec], as_json)
        return
    if spec:
        identity = dataclasses.asdict(load(spec, options).identity)
        del identity["rests_on"]  # looked at when it is run
        if as_json:
            click.echo(json.dumps(identity, indent=1))
        else:
            for name, value in identity.items():
                click.echo(f"{name.replace('_', ' '):16} {text.line(_in_words(name, value))}")
        return
    if as_json:
        click.echo(json.dumps({n: dataclasses.asdict(e) for n, e in families.items()}, indent=1))
        return
    width = max(len(entry.usage) for entry in families.values())
    for entry in families.values():
        click.echo(f"{entry.usage:{width}}  {entry.summary}")


def _print_family(entry: registry.ModelEntry, as_json: bool) -> None:
    """Say how a family's models are named, and which options they have."""
    from tape_bench.models.options import options_of

    options = options_of(registry.resolve(entry.loader))
    if as_json:
        shown = [dataclasses.asdict(one) for one in options]
        click.echo(json.dumps({**dataclasses.asdict(entry), "options": shown}, indent=1))
        return
    click.echo(f"{entry.usage}\n  {entry.summary}")
    for option in options:
        click.echo(f"\n-M {option.name}=…  {option.values}")
        if option.about:
            click.echo(click.wrap_text(option.about, 78, "  ", "  "))
    if names := registry.short_names(entry):
        click.echo("\nShort names:")
        for name, meant in names.items():
            click.echo(f"  {name:{max(map(len, names))}}  {meant}")


UNSAID = {
    "weights_digest": "none",
    "longest_input": "any length",
    "pretraining": "unknown",
    "layer": "the last",
    "kinds": "all",
    "only_head": "any",
}
"""What it means where an identity says nothing."""


def _in_words(name: str, value: Any) -> str:
    if value is None:
        return UNSAID.get(name, "none")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        parts = [
            f"{part.replace('_', ' ')} {_in_words(part, held)}" for part, held in value.items()
        ]
        return ", ".join(parts) or "as it is"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none at all"
    return str(value)
