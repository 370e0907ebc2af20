"""`tape-bench plot`: pictures of records and their predictions."""

from __future__ import annotations

from pathlib import Path

import click

from tape_bench.cli.options import option

KINDS = (
    "overview", "published", "contacts", "confusion", "scatter", "length", "mutations",
    "calibration",
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
    help="Where the pictures go.",
)
@option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["png", "svg"]),
    default=["png", "svg"],
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
        tape-bench plot results/onehot --kind mutations --data downloads/
    """  # fmt: skip
    from tape_bench import places, registry
    from tape_bench.errors import RecordError
    from tape_bench.report import gather, leaderboard, plots, runs

    if "mutations" not in kinds and data not in (None, "sample") and not Path(data).exists():
        data = None  # set for the whole environment, perhaps; not asked for here
    found = gather.gather(records or (places.results(),))
    for warning in gather.warnings(found):
        click.echo(f"note: {warning}", err=True)
    cards = {name: registry.task(name) for name in registry.task_names()}
    board = leaderboard.build(found.records, registry.baselines(), cards)
    drawn = plots.of_leaderboard(board, kinds)
    for filed in runs.newest_filed(found.filed):
        if filed.record.status == "complete":
            drawn += plots.of_record(filed, kinds, proteins, data)
    if not drawn:
        raise RecordError(
            "these records give no such picture",
            where=", ".join(str(place) for place in records) or str(places.results()),
            fix="`tape-bench plot --help` lists the pictures and what they need",
        )
    for plot in drawn:
        for path in plots.save(plot, into, formats):
            click.echo(path)
