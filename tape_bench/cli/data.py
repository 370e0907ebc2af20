"""`tape-bench data`: fetch the data sets, verify them, and see what is there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench import places, registry
from tape_bench.cards import TaskCard
from tape_bench.cli.options import json_option, option

if TYPE_CHECKING:
    from tape_bench.data.inventory import TaskInventory

data_root = option(
    "--data", envvar="TAPE_BENCH_DATA", type=click.Path(path_type=Path), metavar="PLACE",
    help="A data root or folder of tarballs. Default: the user's data folder.",
)  # fmt: skip


@click.group(name="data")
def command() -> None:
    """Fetch TAPE's data sets, verify them, and see what is there.

    A data root holds `<task>/<task>_<split>.lmdb` folders as TAPE lays them out (raw JSON and CSV
    files of the same names serve as well).
    """


@command.command()
@click.argument("tasks", nargs=-1, metavar="[TASK]…")
@option(
    "--mirror",
    "mirrors",
    multiple=True,
    metavar="URL-OR-FOLDER",
    help="Where to look first for <task>.tar.gz; may be repeated, tried in order.",
)
@data_root
@option("--quiet", is_flag=True, help="No progress bars.")
def fetch(tasks: tuple[str, ...], mirrors: tuple[str, ...], data: Path | None, quiet: bool) -> None:
    """Download the data of the given tasks (all five if none is given).

    Mirrors are tried in order, TAPE's own addresses last. A broken download is taken up where it
    stopped; a tarball is checked before anything of it is unpacked.

    \b
    Examples:
        tape-bench data fetch
        tape-bench data fetch stability --mirror https://example.org/tape --mirror ~/downloads
    """  # fmt: skip
    from tape_bench.cli.progress import watching
    from tape_bench.data import download
    from tape_bench.errors import TapeBenchError, TasksFailedError

    root = data or places.data()
    failures = []
    cards = _cards(tasks)
    for number, card in enumerate(cards, 1):
        try:
            with watching(quiet) as watch:
                watch.begin(card.name, number, len(cards))
                fetched = download.fetch(
                    card,
                    mirrors,
                    root,
                    lambda done, total: watch.progress("download", done, total or 0, "bytes"),
                )
        except TapeBenchError as error:
            failures.append(str(error))
        else:
            origin = f"from {fetched.origin}" if fetched.origin else "was there already"
            click.echo(f"{card.name}: {origin} (md5 {fetched.md5 or 'unknown'})")
    if failures:
        raise TasksFailedError("\n".join(failures))


@command.command()
@click.argument("tasks", nargs=-1, metavar="[TASK]…")
@data_root
@json_option
def verify(tasks: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """Read and check every record again; exit with 2 if anything is wrong."""
    from tape_bench.data import inventory

    found = inventory.verify(_cards(tasks), data or places.data())
    _print(found, as_json)
    if any(task.faults or task.status is None for task in found):
        raise SystemExit(2)


@command.command()
@click.argument("tasks", nargs=-1, metavar="[TASK]…")
@data_root
@json_option
def status(tasks: tuple[str, ...], data: Path | None, as_json: bool) -> None:
    """List what is there, beside the record counts of TAPE's own files.

    \b
    official  TAPE's own records, shown by a digest
    partial   no split larger than TAPE's, none under half of it
    other     anything else: a figure on it is not a TAPE figure
    """
    from tape_bench.data import inventory

    _print(inventory.status(_cards(tasks), data or places.data()), as_json)


def _cards(tasks: Sequence[str]) -> list[TaskCard]:
    return [registry.task(name) for name in tasks or registry.task_names()]


def _print(found: Sequence[TaskInventory], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(task) for task in found], indent=1))
        return
    for task in found:
        click.echo(f"{click.style(task.task, bold=True)}: {task.status or '!'}: {task.reason}")
        for split in task.splits:
            records = "-" if split.records is None else str(split.records)
            click.echo(
                f"  {split.name:26} {records:>6} of {split.declared:<6} {split.digest or ''}"
            )
        for fault in task.faults:
            click.echo(f"  ! {fault}")
