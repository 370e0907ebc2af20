"""The story of a leaderboard: records and published tables in, one table model out.

Ours and published scores stand in the same columns, in groups of one protocol and the same data;
only scores of one group are ranked together. Whatever cannot be set beside the others keeps its
value, carries a dagger, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tape_bench.cards import BaselineTable, TaskCard
from tape_bench.report import grouping
from tape_bench.report.leaderboard import published, ranking, rows
from tape_bench.report.leaderboard.table import Column, Leaderboard, Section
from tape_bench.results.record import RunRecord


def build_leaderboard(
    records: Sequence[RunRecord],
    baselines: Sequence[BaselineTable],
    cards: Mapping[str, TaskCard],
    warnings: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> Leaderboard:
    """Set records beside published scores.

    Args:
        records: any number, in any order; of several records with the very same settings the
            newest stands in the table, and a warning counts the others.
        baselines: published tables; left out beside simulated data.
        cards: the tasks by name, in the order of columns; other tasks come after them.
        warnings: what reading the records brought to light, kept with the table.
        files: digest of a record -> the file it stands in, for formats that programs read.
    """
    kept, older = grouping.newest(records)
    shown = grouping.with_headlines(kept)
    aside, kept = len(kept) - len(shown), shown
    said = list(warnings)
    if aside:
        records_of = f"{aside} record{'s' * (aside > 1)} of other splits"
        said.append(f"{records_of} than the headline not shown; they stand in their files")
    if older:
        said.append(
            f"{older} older record{'s' * (older > 1)} of the same names and settings not shown; "
            "`tape-bench history` shows them"
        )
    sections = []
    for simulated in (False, True):
        group = [r for r in kept if (r.task.data.status == "simulated") == simulated]
        if not group and (simulated or kept):
            continue
        columns = _columns(group, cards, [] if simulated else baselines)
        said += _mixed_data(group, columns)
        table = rows.ours(group, columns, files or {})
        if not simulated:
            table += rows.published(baselines, columns)
        caption = (
            "SIMULATED DATA: these scores say nothing about real proteins"
            if simulated
            else "TAPE tasks: our runs and published scores"
        )
        sections.append(
            Section(
                caption,
                simulated,
                tuple(columns),
                tuple(ranking.groups(ranking.ranked(table, columns))),
            )
        )
    real = next((section for section in sections if not section.simulated), None)
    listed = published.listed(baselines, real.columns) if real else ()
    measured = [record for record in kept if record.task.data.status != "simulated"]
    return Leaderboard(
        tuple(sections),
        tuple(said),
        _citations(sections, cards),
        listed,
        published.remeasured(baselines, measured),
    )


def _citations(sections: Sequence[Section], cards: Mapping[str, TaskCard]) -> tuple[str, ...]:
    keys: list[str] = []
    for section in sections:
        if not section.simulated:
            for column in section.columns:
                keys += cards[column.task].citations if column.task in cards else ()
            keys += (row.citation for row in section.rows if row.citation)
    return tuple(dict.fromkeys(keys))


def _columns(
    records: Sequence[RunRecord], cards: Mapping[str, TaskCard], baselines: Sequence[BaselineTable]
) -> list[Column]:
    seen: dict[str, RunRecord] = {}
    for record in records:
        if record.task.id not in seen or not seen[record.task.id].metrics:
            seen[record.task.id] = record
    # Without a single run of ours the published scores make a table of their own.
    shown = seen.keys() or {task for table in baselines for task in table.measured}
    columns = []
    for card in cards.values():
        if card.name in shown:
            label = next(metric.label for metric in card.metrics if metric.id == card.primary)
            columns.append(
                Column(
                    card.name,
                    card.title,
                    card.primary,
                    label,
                    card.headline,
                    card.version,
                    _higher_is_better(seen.get(card.name), card.primary),
                )
            )
    for name, record in sorted(seen.items()):
        if name not in cards:
            task = record.task
            label = next((m.label for m in record.metrics if m.id == task.primary), task.primary)
            higher = _higher_is_better(record, task.primary)
            columns.append(
                Column(name, name, task.primary, label, task.headline, higher_is_better=higher)
            )
    return columns


def _higher_is_better(record: RunRecord | None, metric: str) -> bool:
    found = record and next((m for m in record.metrics if m.id == metric), None)
    return found.higher_is_better if found else True


def _mixed_data(records: Sequence[RunRecord], columns: Sequence[Column]) -> list[str]:
    warnings = []
    for column in columns:
        digests = {r.task.data.digest for r in records if r.task.id == column.task}
        if len(digests) > 1:
            warnings.append(
                f"{column.title}: {len(digests)} different versions of the data; "
                "ranks compare scores on the same version only"
            )
    return warnings
