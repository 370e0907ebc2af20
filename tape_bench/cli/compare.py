"""`tape-bench compare`: is one run better than another, or could that be chance?"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench.cli import output
from tape_bench.cli.options import json_option, option

if TYPE_CHECKING:
    from tape_bench.report.comparison.compare import Change
    from tape_bench.report.verbs import Comparison


@click.command(name="compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@option(
    "--every-metric",
    is_flag=True,
    help="All metrics on all splits, not just the headline score of each task.",
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
@option(
    "--data",
    metavar="WHICH",
    help="Only records on this data: official, partial, other, sample, or how its digest begins.",
)
@option("--seeds", metavar="N[,N…]", help="Only records of runs with these seeds.")
@option("--latest", is_flag=True, help="Of several records of a task and model, only the newest.")
@json_option
def command(
    a: Path,
    b: Path,
    every_metric: bool,
    draws: int,
    anyway: bool,
    data: str | None,
    seeds: str | None,
    latest: bool,
    as_json: bool,
) -> None:
    """Compare the records of run B with those of run A: files, or folders of records.

    Differences are B less A. Intervals are paired by protein, and take in how much the scores of
    a trained head vary from seed to seed; with one seed its difference cannot be told from that.
    p-values come from swapping the two systems' predictions protein by protein, adjusted for the
    number of comparisons (Holm). Proteins that belong together are drawn and swapped together.

    What pairs up is compared, like with like; what does not is listed with the reason. Trials
    (simulated data, --limit) are left out where there are real runs.

    \b
    Examples:
        tape-bench compare results/onehot results/proteinlm-200m
        tape-bench compare old/ new/ --every-metric
        tape-bench compare results/onehot results/mine --data official --seeds 0,1,2
    """  # fmt: skip
    from tape_bench.report import verbs
    from tape_bench.report.comparison.compare import in_words

    found = verbs.compare(
        a,
        b,
        every_metric=every_metric,
        anyway=anyway,
        data=data,
        seeds=_numbers(seeds),
        latest=latest,
        draws=draws,
    )
    if as_json:
        shown = [dataclasses.asdict(c) | {"in_words": in_words(c)} for c in found.changes]
        click.echo(json.dumps(shown, indent=1))
        for line in found.notes:
            output.note(line)
    else:
        _print(found, (a, b))


def _numbers(seeds: str | None) -> tuple[int, ...] | None:
    if seeds is None:
        return None
    try:
        return tuple(int(part) for part in seeds.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{seeds!r}: write whole numbers, e.g. 0,1,2", param_hint="--seeds"
        ) from None


def _print(found: Comparison, places: tuple[Path, Path]) -> None:
    from tape_bench.report.comparison.compare import in_words
    from tape_bench.report.layout import Field, console, listing, say
    from tape_bench.report.wording import DASH, number, plain

    def shown(value: float | None, sign: str = "") -> str:
        return DASH if value is None else number(value, 3, sign)

    def models(change: Change) -> str:
        a, b = change.model_a, change.model_b
        return a if a == b else f"{a} → {b}"

    out, changes = console(), found.changes
    several = len({models(change) for change in changes}) > 1
    sides = places if several else (changes[0].model_a, changes[0].model_b)
    for side, name in zip("AB", sides, strict=True):
        say(out, f"{side}: {plain(str(name))}", "bold")
    names = ["task", *(["model"] if several else []), "metric", "split"]
    figures = ("A", "B", "B − A", "95 % interval", "p", "p (Holm)", "n")
    rows = []
    for change in changes:
        interval = f"{shown(change.low, '+')} to {shown(change.high, '+')}"
        rows.append(
            [
                change.task,
                *([models(change)] if several else []),
                change.label,
                change.split,
                shown(change.a),
                shown(change.b),
                shown(change.difference, "+"),
                interval if change.low is not None else DASH,
                DASH if change.p is None else f"{change.p:.2g}",
                DASH if change.p_holm is None else f"{change.p_holm:.2g}",
                str(change.n or DASH),
            ]
        )
    fields = [*(Field(name) for name in names), *(Field(name, number=True) for name in figures)]
    listing(out, fields, rows, named=len(names))
    for change in changes:
        whose = f" of {models(change)}" if several else ""
        say(out, plain(f"{change.task}{whose}, {change.label}: {in_words(change)}"))
        for doubt in change.doubts:
            say(out, f"  NOT COMPARABLE, compared as asked: {plain(doubt)}", "bold red")
    for line in found.notes:
        say(out, f"note: {plain(line)}", "yellow")
