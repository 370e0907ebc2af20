"""`tape-bench schema`: the contract of run records."""

from __future__ import annotations

import json

import click


@click.command(name="schema")
def command() -> None:
    """Print the JSON Schema (draft 2020-12) that every run record satisfies."""
    from tape_bench.results.record import SCHEMA_VERSION, RunRecord

    schema = RunRecord.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = f"tape-bench run record, version {SCHEMA_VERSION}"
    click.echo(json.dumps(schema, indent=1))
