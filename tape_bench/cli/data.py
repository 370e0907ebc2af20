"""`tape-bench data`: fetch the data sets, verify them, and see what is there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench import paths, registry, text
from tape_bench.cards import TaskCard
from tape_bench.cli import completion
from tape_bench.cli.options import data_option, json_option, option, parse_names
from tape_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from tape_bench.data.inventory import TaskInventory

task_names = click.argument(
    "tasks", nargs=-1, metavar="[TASK]…", callback=parse_names, shell_complete=completion.tasks
)
data_root = option(
    "--data", envvar="TAPE_BENCH_DATA", type=click.Path(path_type=Path), metavar="FOLDER",
    help="The data root to fill. Default: TAPE_BENCH_DATA, or the user's data folder.",
)  # fmt: skip


@click.group(name="data")
def command() -> None:
    """Fetch TAPE's data sets, verify them, and see what is there.

    A data root holds `<task>/<task>_<split>.lmdb` folders as TAPE lays them out (raw JSON, CSV
    and Parquet files of the same names serve as well).
    """


@command.command()
@task_names
@option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL-OR-FOLDER",
    help="Where to look first for <task>.tar.gz; may be repeated, tried in order.",
)
@data_root
@option("-q", "--quiet", is_flag=True, help="No progress bars.")
def fetch(tasks: tuple[str, ...], mirrors: tuple[str, ...], data: Path | None, quiet: bool) -> None:
    """Download the data of the given tasks (all five if none is given).

    Mirrors are tried in order, TAPE's own addresses last. A broken download is taken up where it
    stopped; a tarball is checked before anything of it is unpacked.

    \b
    Examples:
        tape-bench data fetch
        tape-bench data fetch stability --mirror https://example.org/tape --mirror ~/downloads
    """  # fmt: skip
    from tape_bench.cli.progress import showing
    from tape_bench.data.fetch.mirrors import fetch as download
    from tape_bench.errors import TapeBenchError, TasksFailedError

    root = data or paths.data()
    if str(root) == "sample":
        raise UsageError(
            "the built-in sample need not be fetched",
            fix="use it: --data sample; or give the folder to fetch TAPE's data into",
        )
    failures = []
    cards = _cards(tasks)
    for number, card in enumerate(cards, 1):
        try:
            with showing(quiet) as progress:
                progress.begin(card.name, number, len(cards))
                fetched = download(
                    card,
                    mirrors,
                    root,
                    lambda done, total: progress.advance("download", done, total or 0, "bytes"),
                )
        except TapeBenchError as error:
            failures.append(str(error))
        else:
            origin = f"from {fetched.origin}" if fetched.origin else "was there already"
            click.echo(f"{card.name}: {origin} (md5 {fetched.md5 or 'unknown'})")
    if failures:
        raise TasksFailedError("\n".join(failures))


@command.command()
@task_names
@data_option
@json_option
def verify(tasks: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """Read and check every record again; exit with 2 if anything is wrong or missing."""
    from tape_bench.data import inventory

    place = data or paths.data()
    found = inventory.verify(_cards(tasks), place)
    _print(found, place, as_json)
    if any(task.faults or task.status is None for task in found):
        raise SystemExit(2)


@command.command()
@task_names
@data_option
@json_option
def status(tasks: tuple[str, ...], data: str | None, as_json: bool) -> None:
    """List what is there, beside the record counts of TAPE's own files.

    \b
    official  TAPE's own records, shown by a digest
    partial   no split larger than TAPE's, none under half of it
    other     anything else: a score on it is not a TAPE score
    simulated the built-in sample
    
    Exits with 2 where there is nothing at all.
    """
    from tape_bench.data import inventory

    place = data or paths.data()
    _print(inventory.status(_cards(tasks), place), place, as_json)


@command.command()
@option(
    "-t",
    "--task",
    "tasks",
    multiple=True,
    callback=parse_names,
    shell_complete=completion.tasks,
    metavar="TASK[,TASK…]",
    help="Names of tasks, or paths of cards. Default: all five.",
)
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FASTA",
    help="The file to write.",
)
@data_option
def sequences(tasks: tuple[str, ...], out: Path, data: str | None) -> None:
    """Write each distinct sequence of the tasks once, to be embedded elsewhere.

    Ids follow from the sequences: a file of vectors under these ids is read by `tape-bench run
    vectors:FILE`, whichever task a sequence is from.

    
    Examples:
        tape-bench data sequences -t stability,fluorescence -o all.fasta
        tape-bench run vectors:vectors.h5 -t stability,fluorescence
    """  # fmt: skip
    from tape_bench.data.examples import load_task
    from tape_bench.data.sequences import write_sequences

    found: set[str] = set()
    for card in _cards(tasks):
        for split in load_task(card, data=data).values():
            found.update(split.sequences)
    count = write_sequences(found, out)
    click.echo(f"{count:,} sequences, {sum(map(len, found)):,} residues: {out}")


def _cards(tasks: Sequence[str]) -> list[TaskCard]:
    return [registry.task(name) for name in tasks or registry.task_names()]


def _print(found: Sequence[TaskInventory], place: str | Path, as_json: bool) -> None:
    """Print what was found; where that is nothing, say where it was looked for.

    Raises:
        DataError: there is nothing of any task.
    """
    nothing = all(task.source is None for task in found)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(task) for task in found], indent=1))
    elif not nothing:
        click.echo(text.line(str(place)))
        _list(found)
    if nothing:
        raise DataError(
            f"no data of {', '.join(task.task for task in found)}",
            where=str(place),
            fix="run `tape-bench data fetch`, or say where they are: --data",
        )


def _list(found: Sequence[TaskInventory]) -> None:
    for task in found:
        click.echo(f"{click.style(task.task, bold=True)}: {task.status or '!'}: {task.reason}")
        for split in task.splits:
            records = "-" if split.records is None else str(split.records)
            click.echo(
                f"  {split.name:26} {records:>6} of {split.declared:<6} {split.digest or ''}"
            )
        for fault in task.faults:
            click.echo(f"  ! {text.lines(fault)}")
