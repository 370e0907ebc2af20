"""`tape-bench run`: score a model, and see it beside the published scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tape_bench.cli import completion
from tape_bench.cli.options import (
    compute_options,
    data_option,
    json_option,
    model_keywords,
    model_options,
    option,
    parse_names,
    parse_pairs,
    tell_notes,
)
from tape_bench.errors import UsageError

if TYPE_CHECKING:
    from tape_bench.cards import TaskCard
    from tape_bench.models.embedder import Identity
    from tape_bench.results.record import RunRecord
    from tape_bench.run.evaluate import Outcome
    from tape_bench.run.plan import RunPlan
    from tape_bench.run.settings import Settings


@click.command(name="run")
@click.argument("model", shell_complete=completion.models)
@option(
    "-t",
    "--task",
    "tasks",
    multiple=True,
    callback=parse_names,
    shell_complete=completion.tasks,
    metavar="TASK[,TASK…]",
    help="Names of tasks, or paths of cards. Default: all the model serves.",
)
@option(
    "--split",
    "splits",
    multiple=True,
    callback=parse_names,
    metavar="SPLIT[,SPLIT…]",
    help="Score only these test splits.",
)
@option(
    "--head",
    shell_complete=completion.heads,
    metavar="NAME",
    help="'linear' (solved: ridge or logistic regression), 'tape' (TAPE's own, trained); for "
    "residues also 'window' (solved, seven residues) and 'bilstm' (over the chain); 'fork' (of "
    "ProteinLM's TAPE fork, for proteins and contacts) and 'megatron' (of its own code). "
    "Default: the card's.",
)
@option(
    "--protocol",
    shell_complete=completion.protocols,
    default="probe",
    show_default=True,
    help="How one gets from the model to predictions.",
)
@option(
    "-P",
    "--protocol-option",
    "of_protocol",
    multiple=True,
    callback=parse_pairs,
    metavar="KEY=VALUE",
    help="An option of the protocol, e.g. -P head=tape.",
)
@data_option
@option(
    "--out",
    envvar="TAPE_BENCH_OUT",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where records go. Default: results/ in the current folder; trials/ for a trial, which "
    "is a run on the sample or with --limit.",
)
@option(
    "--seeds",
    metavar="N[,N…]",
    help="One head is trained for each; scores are means over them. Default: 0,1,2. A head that "
    "is solved needs none.",
)
@option(
    "--limit",
    type=int,
    metavar="N",
    help="Use the first N records of each split only: a trial, not a score to publish.",
)
@option(
    "--length-policy",
    type=click.Choice(["error", "skip", "truncate", "window"]),
    help="What happens to proteins longer than the model reads. Default: the card's.",
)
@option(
    "--longest",
    type=int,
    metavar="RESIDUES",
    help="Longest protein to read. Default: the model's own limit.",
)
@model_options
@compute_options
@option(
    "--rerun",
    is_flag=True,
    help="Compute again, representations too, even where a complete record exists.",
)
@option("--dry-run", is_flag=True, help="Print what would be done, and stop.")
@json_option
@option("-q", "--quiet", is_flag=True, help="No progress bars and no table; only errors.")
def command(
    model: str,
    tasks: tuple[str, ...],
    seeds: str | None,
    head: str | None,
    of_protocol: dict[str, str],
    rerun: bool,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Score MODEL on the TAPE tasks and print a leaderboard.

    MODEL is a family such as `onehot`, or `family:argument`; `tape-bench models` lists them.
    A task that is complete already is not computed again; an interrupted run goes on.

    \b
    Examples:
        tape-bench run onehot --data sample
        tape-bench run onehot -t fluorescence,stability --head tape --seeds 0,1
        tape-bench run onehot --data downloads/ --head linear --dry-run
        tape-bench run proteinlm:checkpoints/3b --devices 8
        torchrun --nproc-per-node 8 --nnodes 4 -m tape_bench.cli run proteinlm:checkpoints/3b
    """  # fmt: skip
    from tape_bench import protocols
    from tape_bench.cli.output import aside
    from tape_bench.embedding.executors.session import assemble
    from tape_bench.run.evaluate import check_protocol, run_tasks
    from tape_bench.run.plan import cards_of
    from tape_bench.run.settings import Settings

    if head is not None and of_protocol.setdefault("head", head) != head:
        raise UsageError("--head and -P head=… exclude each other", fix="leave one of them out")
    setting_names = Settings.model_fields
    settings = Settings.of(
        {name: value for name, value in options.items() if name in setting_names and value != ()}
        | protocols.read_options(options["protocol"], of_protocol)
        | {"seeds": None if seeds is None else _seeds(seeds)}
    )
    cards = cards_of(tasks)
    with aside():
        session = assemble(
            model, model_keywords(options), settings.devices, settings.tensor_parallel
        )
    # Of several processes that a launcher has started, the first alone has something to show.
    leads = session.executor.leads
    if leads:
        tell_notes(session.model)
    if dry_run:
        check_protocol(session, settings)
        if leads:
            _print_plans(session.identity, cards, settings, as_json)
        return
    from tape_bench.cli.progress import showing

    with showing(quiet or not leads) as progress:
        outcomes = []
        for outcome in run_tasks(session, cards, settings, rerun=rerun, progress=progress):
            progress.end(outcome.task, _how_it_ended(outcome))
            outcomes.append(outcome)
    if leads:
        _print_outcomes(outcomes, cards, settings, as_json, quiet)


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"seeds must be whole numbers, not {text!r}", fix="e.g. --seeds 0,1,2"
        ) from None


def _how_it_ended(outcome: Outcome) -> str:
    if outcome.error:
        return "failed"
    return "already complete" if outcome.reused else "complete"


def _print_plans(
    identity: Identity, cards: Sequence[TaskCard], settings: Settings, as_json: bool
) -> None:
    import json

    from tape_bench.run.evaluate import complete_record
    from tape_bench.run.plan import plan, tasks_for

    plans = [plan(task, identity, settings) for task in cards or tasks_for(identity, settings)]
    if as_json:
        shown = [json.loads(planned.record().model_dump_json()) for planned in plans]
        click.echo(json.dumps(shown, indent=1))
        return
    for planned in plans:
        click.echo(_describe(planned, complete_record(planned) is not None))


def _describe(planned: RunPlan, complete: bool) -> str:
    counts = ", ".join(f"{name} {len(planned.data[name])}" for name in planned.data)
    resolved = ", ".join(f"{k}={_short(v)}" for k, v in planned.record().protocol.resolved.items())
    return "\n".join(
        [
            click.style(planned.card.name, bold=True),
            f"  data      {planned.data.source}, {planned.data.status}: {planned.data.reason}",
            f"  records   {counts}",
            f"  protocol  {planned.settings.protocol}: {resolved}",
            f"  scored    {', '.join(planned.tests)}; seeds {planned.seeds}",
            f"  run key   {planned.run_key}",
            f"  record    {planned.path}" + (" (complete: would be reused)" if complete else ""),
        ]
    )


def _short(value: object) -> str:
    """Write a number or a list of them for reading: the record has every digit."""
    if isinstance(value, list | tuple):
        shown = [_short(one) for one in value]
        return f"{shown[0]} … {shown[-1]} ({len(shown)})" if len(shown) > 3 else ", ".join(shown)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _beside_the_table(record: RunRecord, asked: Sequence[str]) -> Iterator[str]:
    """Say the scores of the splits asked for that the table leaves out: it has the headline's."""
    beside = [split for split in asked if split != record.task.headline]
    for metric in (record.metric(record.task.primary, split) for split in beside):
        if metric is not None and metric.value is not None:
            around = metric.interval
            between = f" [{around.low:.3f}, {around.high:.3f}]" if around else ""
            said = f"{metric.label} {metric.value:.3f}{between}, {metric.n:,} proteins"
            yield f"{record.task.id}, {metric.split}: {said}"


def _print_outcomes(
    outcomes: Sequence[Outcome],
    cards: Sequence[TaskCard],
    settings: Settings,
    as_json: bool,
    quiet: bool,
) -> None:
    import json

    from tape_bench.run.evaluate import faults

    records = [outcome.record for outcome in outcomes if outcome.record]
    if as_json:
        click.echo(json.dumps([json.loads(r.model_dump_json()) for r in records], indent=1))
    elif not quiet and records:
        from tape_bench import registry
        from tape_bench.cli.output import table_console
        from tape_bench.report.leaderboard.build import build_leaderboard
        from tape_bench.report.leaderboard.formats import terminal

        given = {card.name: card for card in cards}
        known = {r.task.id: given.get(r.task.id) or registry.task(r.task.id) for r in records}
        console = table_console()
        terminal.terminal(build_leaderboard(records, registry.baselines(), known), console)
        for record in records:
            for line in _beside_the_table(record, settings.splits):
                console.print(line, soft_wrap=True, highlight=False, markup=False)
        what = "trial records" if settings.is_trial else "records"
        console.print(f"{what} in {settings.out}:", soft_wrap=True, highlight=False, markup=False)
        for outcome in outcomes:
            if outcome.path:
                console.print(f"  {outcome.path}", soft_wrap=True, highlight=False, markup=False)
    failed = faults(outcomes)
    for names, error in failed:
        click.echo(f"error: {names}: {error}", err=True)
    if failed:
        raise SystemExit(max(error.exit_code for _, error in failed))
