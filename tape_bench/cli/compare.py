"""`tape-bench compare`: is one run better than another, or could that be chance?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench.cli.options import json_option, option

if TYPE_CHECKING:
    from tape_bench.report.compare import Change


@click.command(name="compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@option(
    "--every-metric",
    is_flag=True,
    help="All metrics on all splits, not just the headline figure of each task.",
)
@option(
    "--draws",
    type=click.IntRange(min=100),
    default=10_000,
    show_default=True,
    help="Bootstrap draws, and permutations.",
)
@click.option(
    "--anyway", is_flag=True, help="Compare what is not comparable, too; the output says so."
)
@json_option
def command(a: Path, b: Path, every_metric: bool, draws: int, anyway: bool, as_json: bool) -> None:
    """Compare the records of run B with those of run A: files, or folders of records.

    Differences are B less A. Intervals are paired by protein, and take in how much the figures
    vary from seed to seed where there are several; p-values come from swapping the two systems'
    predictions protein by protein, adjusted for the number of comparisons (Holm).

    \b
    Examples:
        tape-bench compare results/onehot results/proteinlm-200m
        tape-bench compare old/ new/ --every-metric
    """  # fmt: skip
    from tape_bench.errors import RecordError
    from tape_bench.report import compare, gather, pairing

    sides = [gather.gather((place,)) for place in (a, b)]
    for warning in (line for side in sides for line in gather.warnings(side)):
        click.echo(f"note: {warning}", err=True)
    paired = pairing.pair(
        *([f for f in side.filed if f.record.status == "complete"] for side in sides)
    )
    if not paired.pairs:
        raise RecordError(
            "no task has a complete record on both sides",
            where=f"{a} and {b}",
            fix="`tape-bench run` both models on the same tasks first",
        )
    changes = compare.compare(paired.pairs, every_metric=every_metric, anyway=anyway, draws=draws)
    alone = [
        f"{filed.record.task.id} of {filed.record.model.name} stands on one side only"
        for filed in (*paired.only_a, *paired.only_b)
    ]
    if as_json:
        shown = [dataclasses.asdict(c) | {"in_words": compare.in_words(c)} for c in changes]
        click.echo(json.dumps(shown, indent=1))
    else:
        _print(changes, alone)


def _print(changes: list[Change], alone: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tape_bench.report.compare import in_words
    from tape_bench.report.wording import DASH, number, plain

    def shown(value: float | None, sign: str = "") -> str:
        return DASH if value is None else number(value, 3, sign)

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in ("task", "metric", "split"):
        table.add_column(title, overflow="fold")
    for title in ("A", "B", "B − A", "95 % interval", "p", "p (Holm)", "n"):
        table.add_column(title, justify="right", overflow="fold")
    for change in changes:
        interval = (
            f"{shown(change.low, '+')} to {shown(change.high, '+')}"
            if change.low is not None
            else DASH
        )
        table.add_row(
            Text(plain(change.task)),
            Text(plain(change.label)),
            Text(plain(change.split)),
            shown(change.a),
            shown(change.b),
            shown(change.difference, "+"),
            interval,
            DASH if change.p is None else f"{change.p:.2g}",
            DASH if change.p_holm is None else f"{change.p_holm:.2g}",
            str(change.n or DASH),
        )
    console = Console()
    first = changes[0]
    console.print(Text(f"A: {plain(first.model_a)}   B: {plain(first.model_b)}", style="bold"))
    console.print(table)
    for change in changes:
        console.print(Text(f"{plain(change.task)}, {plain(change.label)}: {in_words(change)}"))
        for doubt in change.doubts:
            console.print(Text(f"  NOT COMPARABLE, compared as asked: {doubt}", style="bold red"))
    for line in alone:
        console.print(Text(f"note: {plain(line)}", style="yellow"))
