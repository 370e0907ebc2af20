"""`tape-bench tasks`: what is measured, and what each metric id means."""

from __future__ import annotations

import json

import click

from tape_bench import registry
from tape_bench.cards import TaskCard
from tape_bench.cli import completion
from tape_bench.cli.options import json_option


@click.command(name="tasks")
@click.argument("task", required=False, shell_complete=completion.tasks)
@json_option
def command(task: str | None, as_json: bool) -> None:
    """List the tasks, or show one TASK in full: splits, metrics, sources, licence.

    TASK is a name from the list, or the path of your own card.

    \b
    Examples:
        tape-bench tasks
        tape-bench tasks contact
    """
    names = [task] if task else registry.task_names()
    cards = [registry.task(name) for name in names]
    if as_json:
        shown = [json.loads(card.model_dump_json()) | {"digest": card.digest} for card in cards]
        click.echo(json.dumps(shown[0] if task else shown, indent=1, ensure_ascii=False))
    elif task:
        _show(cards[0])
    else:
        _list(cards)


def _list(cards: list[TaskCard]) -> None:
    for card in cards:
        label = next(metric.label for metric in card.metrics if metric.id == card.primary)
        counts = ", ".join(f"{name} {split.records}" for name, split in card.splits.items())
        click.echo(f"{click.style(card.name, bold=True)}: {label} on {card.headline}")
        click.echo(f"  {card.summary}")
        click.echo(f"  {counts}")
    click.echo("\nCounts are those of TAPE's own files. `tape-bench tasks NAME` tells more.")


def _show(card: TaskCard) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tape_bench.report.layout import Field, listing
    from tape_bench.report.layout import console as standard_output
    from tape_bench.scoring.metrics import find

    console = standard_output()
    about = f" ({card.name}, version {card.version}): {card.summary}\n"
    console.print(Text.assemble((card.title, "bold"), about))
    splits = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("split", "role", "records in TAPE's file"):
        splits.add_column(title)
    for name, split in card.splits.items():
        splits.add_row(name, split.role, str(split.records))
    for name, joined in card.joined.items():
        together = sum(card.splits[part].records for part in joined.of)
        what = f"{joined.protocol}, --split {name}"
        splits.add_row(name, what, f"{together}: {', '.join(joined.of)}")
    console.print(splits)
    rows = [
        [
            metric.id + (" *" if metric.id == card.primary else ""),
            metric.label,
            find(metric.definition, card.kind).sentence,
        ]
        for metric in card.metrics
    ]
    listing(console, [Field("metric id"), Field("label"), Field("", words=True)], rows)
    console.print("[dim]* stands in tables\n")
    source = card.source
    console.print(f"default head: {card.head}, pooling: {card.pool}", markup=False)
    limit = f" beyond {card.length.longest} residues" if card.length.longest else ""
    console.print(f"proteins too long for the model{limit}: {card.length.policy}", markup=False)
    if card.cluster:
        console.print(f"intervals draw proteins of one {card.cluster.field} together", markup=False)
    console.print(f"licence: {source.licence}", markup=False)
    console.print(
        f"source: {', '.join(source.urls) or source.homepage}", soft_wrap=True, markup=False
    )
    note = f" ({source.note})" if source.note else ""
    console.print(f"md5: {source.md5 or 'unknown'}{note}", markup=False)
    console.print(
        f"cite: {', '.join(card.citations)} (keys of {registry.citations().name})", markup=False
    )
