"""`tape-bench models`: what can be scored."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import click

from tape_bench import registry
from tape_bench.cli.options import json_option, model_options


@click.command(name="models")
@click.argument("spec", required=False)
@model_options
@json_option
def command(spec: str | None, as_json: bool, **options: Any) -> None:
    """List the families of models, or load the model SPEC names and say who it is.

    \b
    Examples:
        tape-bench models
        tape-bench models onehot
    """
    if spec:
        from tape_bench.models import load_model

        identity = dataclasses.asdict(load_model(spec, **options).identity)
        del identity["rests_on"]  # looked at when it is run
        if as_json:
            click.echo(json.dumps(identity, indent=1))
        else:
            for name, value in identity.items():
                shown = "unknown" if name == "pretraining" and value is None else value
                click.echo(f"{name:16} {shown}")
        return
    families = registry.models()
    if as_json:
        click.echo(json.dumps({n: dataclasses.asdict(e) for n, e in families.items()}, indent=1))
        return
    width = max(len(entry.usage) for entry in families.values())
    for entry in families.values():
        click.echo(f"{entry.usage:{width}}  {entry.summary}")
