"""`tape-bench report`: the leaderboard, in the terminal or in a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench import paths
from tape_bench.cli.options import option
from tape_bench.errors import UsageError

if TYPE_CHECKING:
    from tape_bench.report.leaderboard.formats.html import Picture
    from tape_bench.report.leaderboard.table import Leaderboard
    from tape_bench.results.collect import Records

FORMATS = ("terminal", "markdown", "csv", "latex", "json", "html")


@click.command(name="report")
@click.argument("records", nargs=-1, type=click.Path(path_type=Path))
@option(
    "--format",
    type=click.Choice(FORMATS),
    help="Default: what the name of --output says, or terminal.",
)
@option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to a file: .md, .csv, .tex, .json or .html.",
)
@option(
    "--plots/--no-plots", default=True, show_default=True, help="Pictures inside the HTML page."
)
@option(
    "--bibtex",
    is_flag=True,
    help="Print the citations of the data sets and baselines that appear, and nothing else.",
)
def command(
    records: tuple[Path, ...],
    format: str | None,
    output: Path | None,
    plots: bool,
    bibtex: bool,
) -> None:
    """Set RECORDS (files or folders; default: results/) beside the published scores.

    \b
    Examples:
        tape-bench report
        tape-bench report results/ -o leaderboard.html
        tape-bench report results/onehot --format latex
        tape-bench report --bibtex > citations.bib
    """  # fmt: skip
    from tape_bench import registry
    from tape_bench.report import verbs
    from tape_bench.report.leaderboard import citations, formats
    from tape_bench.results.collect import collect_records

    asked = records or (paths.results(),)
    # A new user has no results/ yet: that is no fault of a path they gave.
    found = collect_records(asked if records else [place for place in asked if place.exists()])
    board = verbs.leaderboard(found, notes=_nothing_of_yours(found, asked))
    if bibtex:
        _write(citations.bibtex(board.citations, registry.citations()), output)
        return
    chosen = format or (formats.of_file(output) if output else "terminal")
    if chosen is None:
        raise UsageError(
            f"no format is known by the ending of {output}",
            fix="use .md, .csv, .tex, .json or .html, or say --format",
        )
    if chosen == "terminal":
        _print(board, output)
    elif chosen == "html":
        from tape_bench.report.leaderboard.formats import html

        _write(html.render(board, _figures(board) if plots else ()), output)
    else:
        _write(formats.render(board, chosen), output)


def _nothing_of_yours(found: Records, asked: Sequence[Path]) -> list[str]:
    if found.filed:
        return []
    where = ", ".join(str(place) for place in asked)
    said = f"no records of yours in {where}; these are the published scores"
    trials = paths.trials()
    if trials.is_dir() and trials not in asked:
        said += f"; trial runs stand in {trials}/: `tape-bench report {trials}`"
    return [said]


def _figures(board: Leaderboard) -> list[Picture]:
    from tape_bench.report import plots
    from tape_bench.report.leaderboard.formats.html import Picture

    return [
        Picture(plot.caption, plots.svg(plot), plots.svg(plot, narrow=True))
        for plot in plots.of_leaderboard(board)
    ]


def _print(board: Leaderboard, output: Path | None) -> None:
    from tape_bench.report.layout import console
    from tape_bench.report.leaderboard.formats import terminal

    if output is None:
        terminal.terminal(board, console())
    else:
        _write(terminal.text(board), output)


def _write(text: str, output: Path | None) -> None:
    from tape_bench.atomic import replace

    if output is None:
        click.echo(text, nl=False)
        return
    replace(output, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    click.echo(f"wrote {output}", err=True)
