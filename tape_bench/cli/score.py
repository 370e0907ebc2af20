"""`tape-bench score`: predictions that another program made, scored and recorded."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tape_bench.cli import completion
from tape_bench.cli.options import data_option, json_option, option


@click.command(name="score")
@click.argument("task", shell_complete=completion.tasks)
@click.argument("predictions", type=click.Path(path_type=Path))
@option(
    "--name",
    "model",
    required=True,
    metavar="NAME",
    help="What stands in tables for what made them.",
)
@option("--split", metavar="SPLIT", help="The test split they are of. Default: the headline.")
@data_option
@option(
    "--out",
    envvar="TAPE_BENCH_OUT",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where the record goes. Default: results/, or trials/ for the sample.",
)
@json_option
def command(
    task: str,
    predictions: Path,
    model: str,
    split: str | None,
    data: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Score PREDICTIONS for TASK that another program made, and write a record.

    A CSV has a column id (or sequence) and one of predictions: value, class, or classes with one
    letter or number a residue. Contacts are an npz with an array [residues, residues] of
    probabilities for each id. Proteins without a prediction are counted and left out.

    \b
    Examples:
        tape-bench score stability predictions.csv --name mine
        tape-bench score secondary_structure ss3.csv --split casp12 --name netsurf
        tape-bench score contact contacts.npz --name alphafold
    """
    from tape_bench.run.external import score

    record = score(task, predictions, name=model, split=split, data=data, out=out)
    if as_json:
        click.echo(json.dumps(json.loads(record.model_dump_json()), indent=1))
        return
    (of_split,) = record.task.data.splits.values()
    (name,) = record.task.data.splits
    click.echo(f"{record.model.name} on {record.task.id}, {name}")
    click.echo(f"  {record.task.data.status} data: {record.task.data.reason}")
    for metric in record.metrics:
        shown = "-" if metric.value is None else f"{metric.value:.4f}"
        if metric.interval:
            shown += f"  [{metric.interval.low:.3f}, {metric.interval.high:.3f}]"
        click.echo(f"  {metric.label:24} {shown}  {metric.undefined or ''}".rstrip())
    click.echo(f"  {of_split.n_scored:,} of {of_split.n_total:,} proteins")
    for reason, count in of_split.n_skipped.items():
        click.echo(f"  {count:,} left out: {reason}")
    unknown = record.protocol.selected.get("unknown_ids", 0)
    if unknown:
        click.echo(f"  {unknown:,} predictions are of no protein of this split")
