"""`tape-bench check`: a gate for CI that closes when a metric got worse, and only then."""

from __future__ import annotations

import os
from pathlib import Path

import click

from tape_bench.cli.options import option


@click.command(name="check")
@click.argument("new", type=click.Path(path_type=Path))
@option(
    "--against",
    required=True,
    type=click.Path(path_type=Path),
    metavar="REFERENCE",
    help="The records that must not be fallen behind: a file, or a folder.",
)
@option(
    "--tolerance",
    "tolerances",
    multiple=True,
    metavar="[TASK[:METRIC]=]AMOUNT",
    help="A drop that is let pass, for all scores, a task or one metric; may be repeated. "
    "Naming a metric has it checked beside the primary one.",
)
@option(
    "--paired",
    is_flag=True,
    help="Let a drop pass that chance could make: the interval of the change, paired by "
    "protein, must lie below zero as a whole. Heads that are trained need several seeds.",
)
@option(
    "--level",
    type=click.FloatRange(0.5, 0.9999),
    default=0.95,
    show_default=True,
    help="Confidence level of all paired intervals together.",
)
@option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write JUnit XML.",
)
@option(
    "--markdown",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a summary for a pull request.",
)
@click.option(
    "--update", is_flag=True, help="Make NEW the reference. No environment variable sets this."
)
def command(
    new: Path,
    against: Path,
    tolerances: tuple[str, ...],
    paired: bool,
    level: float,
    junit: Path | None,
    markdown: Path | None,
    update: bool,
) -> None:
    """Check the records NEW (a file or a folder) against reference records.

    \b
    Exit codes:
        0  fine
        1  regression: worse by more than the tolerance
        2  usage
        3  not comparable: other data, protocol or metric, or a record edited by hand
        4  cannot be told: a reference record has no complete counterpart, or (--paired) the
           seed variance is unknown

    \b
    Examples:
        tape-bench check results/ --against reference/ --tolerance 0.005 --paired
        tape-bench check results/ --against reference/ --tolerance contact=0.01
        tape-bench check results/ --against reference/ --update
    """  # fmt: skip
    from tape_bench.report.gate import judge, reports, tolerance
    from tape_bench.results.collect import Records, collect_records

    allowed = tolerance.parse(tolerances)
    found, reference = (
        collect_records((place,)) if place.exists() else Records() for place in (new, against)
    )
    if update:
        from tape_bench.report.gate.reference import update as renew

        for path in renew(found, reference, against):
            click.echo(f"reference: {path}")
        return
    verdict = judge.check(found, reference, allowed, paired=paired, level=level)
    click.echo(reports.text(verdict))
    if junit:
        _write(junit, reports.junit(verdict))
    if markdown:
        _write(markdown, reports.markdown(verdict))
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(reports.markdown(verdict))
    raise SystemExit(int(verdict.outcome))


def _write(path: Path, text: str) -> None:
    from tape_bench.atomic import replace

    replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
