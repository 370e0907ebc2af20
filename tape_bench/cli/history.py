"""`tape-bench history`: one score over commits and versions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench.cli import output
from tape_bench.cli.options import json_option, option

if TYPE_CHECKING:
    from tape_bench.report.history import Entry


@click.command(name="history")
@click.argument("task")
@click.argument("model")
@click.argument("records", nargs=-1, type=click.Path(path_type=Path))
@option("--metric", metavar="ID", help="Default: the task's primary metric.")
@option("--split", metavar="NAME", help="Default: the task's headline split.")
@option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw it, too: .png, .svg or .pdf.",
)
@json_option
def command(
    task: str,
    model: str,
    records: tuple[Path, ...],
    metric: str | None,
    split: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Show a metric of MODEL on TASK over RECORDS (files or folders; default: results/).

    A results folder holds one record for each setting; to follow a score over commits, keep the
    results of each commit in a folder of its own and give them all.

    \b
    Examples:
        tape-bench history fluorescence onehot runs/*/
        tape-bench history contact onehot runs/ --plot history.svg
    """  # fmt: skip
    from tape_bench import paths, registry
    from tape_bench.errors import RecordError, UsageError, unknown_name
    from tape_bench.report import history
    from tape_bench.report.plots import FORMATS, save
    from tape_bench.results import collect

    card = registry.task(task)
    if metric and metric not in {known.id for known in card.metrics}:
        raise unknown_name("metric", metric, [known.id for known in card.metrics])
    if split and split not in card.splits:
        raise unknown_name("split", split, card.splits)
    if plot and plot.suffix[1:] not in FORMATS:
        raise UsageError(
            f"cannot draw {plot.suffix or plot.name} files", fix="use .png, .svg or .pdf"
        )
    found = collect.collect_records(records or (paths.results(),))
    for warning in collect.warnings(found):
        output.note(warning)
    chosen = metric or card.primary
    entries = history.history(found.filed, card.name, model, chosen, split or card.headline)
    if not entries:
        raise RecordError(
            f"there is no record of {model} on {card.name}",
            where=", ".join(str(place) for place in records) or str(paths.results()),
            fix="`tape-bench report` lists the models there are",
        )
    if plot:
        title = f"{model}, {card.name}, {split or card.headline}"
        label = next(known.label for known in card.metrics if known.id == chosen)
        picture = dataclasses.replace(history.plot(entries, title, label), name=plot.stem)
        for path in save(picture, plot.parent, (plot.suffix[1:],)):
            click.echo(f"wrote {path}", err=True)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(entry) for entry in entries], indent=1))
    else:
        _print(entries)


def _print(entries: list[Entry]) -> None:
    from tape_bench.report.layout import Field, console, listing, say
    from tape_bench.report.wording import DASH, number

    def shown(value: float | None, sign: str = "") -> str:
        return DASH if value is None else number(value, 3, sign)

    fields = [
        Field("what changed", words=True),
        Field("value", number=True),
        Field("95 % interval", number=True),
        Field("change", number=True),
        Field("started"),
        Field("", words=True),
    ]
    rows = [
        [
            ", ".join(entry.changed),
            shown(entry.value),
            DASH if entry.low is None else f"{shown(entry.low)} – {shown(entry.high)}",
            shown(entry.change, "+"),
            entry.started[:16].replace("T", " "),
            entry.remark or "",
        ]
        for entry in entries
    ]
    out = console()
    listing(out, fields, rows)
    if any(entry.dirty for entry in entries):
        say(out, "* the checkout had changes that were not committed", "dim")
