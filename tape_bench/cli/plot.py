"""`tape-bench plot`: pictures of records and their predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench.cli import output
from tape_bench.cli.options import option

if TYPE_CHECKING:
    from tape_bench.results.collect import Filed

KINDS = (
    "overview", "published", "contacts", "confusion", "scatter", "length", "mutations",
    "calibration", "training",
)  # fmt: skip


@click.command(name="plot")
@click.argument("records", nargs=-1, type=click.Path(path_type=Path))
@option(
    "-k",
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    help="Which pictures; may be repeated. Default: all that the records give.",
)
@option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("plots"),
    show_default=True,
    metavar="FOLDER",
    help="Where the pictures go: leaderboards at its top, a model's pictures in a folder each, "
    "models beside each other in together/.",
)
@option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["png", "svg", "pdf"]),
    default=["png"],
    show_default=True,
    help="May be repeated.",
)
@option(
    "--protein",
    "proteins",
    multiple=True,
    metavar="ID",
    help="A protein whose contact map is drawn; may be repeated.",
)
@option(
    "--data",
    envvar="TAPE_BENCH_DATA",
    metavar="PLACE",
    help="Where the sequences are, as for `run`: pictures by mutation need them.",
)
def command(
    records: tuple[Path, ...],
    kinds: tuple[str, ...],
    into: Path,
    formats: tuple[str, ...],
    proteins: tuple[str, ...],
    data: str | None,
) -> None:
    """Draw RECORDS (files or folders; default: results/).

    \b
    Examples:
        tape-bench plot
        tape-bench plot results/onehot --kind contacts --protein 1ABC_1_A
        tape-bench plot results/onehot --kind mutations --data downloads/ --format pdf

    Pictures of single proteins and classes need the predictions, which `run` leaves beside each
    record. Where they are missing, the rest is drawn, and a note says what is not.
    """  # fmt: skip
    from tape_bench import paths, registry
    from tape_bench.errors import RecordError
    from tape_bench.report import grouping, plots
    from tape_bench.report.leaderboard.build import build_leaderboard
    from tape_bench.results import collect

    if "mutations" not in kinds and data not in (None, "sample") and not Path(data).exists():
        data = None  # set for the whole environment, perhaps; not asked for here
    found = collect.collect_records(records or (paths.results(),))
    for warning in collect.warnings(found):
        output.note(warning)
    cards = {name: registry.task(name) for name in registry.task_names()}
    board = build_leaderboard(found.records, registry.baselines(), cards)
    drawn = plots.of_leaderboard(board, kinds)
    missing: dict[str, list[Filed]] = {}
    readable = []
    for filed in grouping.newest_filed(found.filed):
        if filed.record.status == "complete":
            try:
                pictures = plots.of_record(filed, kinds, proteins, data)
            except RecordError as error:
                missing.setdefault(error.what, []).append(filed)
                continue
            drawn += pictures
            readable += [filed] if pictures else []
    drawn += plots.of_records(readable, kinds)
    told = [_missing(why, filed, kinds) for why, filed in missing.items()]
    if not drawn:
        raise RecordError(
            "; ".join(["these records give no such picture", *told]),
            where=", ".join(str(place) for place in records) or str(paths.results()),
            fix="`tape-bench plot --help` lists the pictures and what they need",
        )
    for plot in drawn:
        for path in plots.save(plot, into, formats):
            click.echo(path)
    for line in told:
        output.note(line)


def _missing(why: str, filed: list[Filed], kinds: tuple[str, ...]) -> str:
    """Say what is not drawn for want of predictions."""
    from tape_bench.report import plots

    names = dict.fromkeys(name for one in filed for name in plots.of_kind(one, kinds))
    count = f"{len(filed)} record{'s' * (len(filed) > 1)}"
    return (
        f"not drawn for {count}: {', '.join(names)}: {why}; run the task again where they "
        "are wanted, or copy the predictions beside the record"
    )
