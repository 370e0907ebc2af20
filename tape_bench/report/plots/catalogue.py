"""Which pictures there are, and which of them a leaderboard or a record gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from tape_bench import registry
from tape_bench.cards import Kind, TaskCard
from tape_bench.errors import UsageError, unknown_name
from tape_bench.report.leaderboard.table import Leaderboard, Row
from tape_bench.report.plots import training
from tape_bench.report.plots.style import Plot
from tape_bench.report.plots.training import histories
from tape_bench.results import store
from tape_bench.results.collect import Filed
from tape_bench.results.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tape_bench.scoring.predictions import Predictions

PLOTS = {
    "overview": "tasks x models, every figure with its interval",
    "published": "our figures on the range of the published ones, one panel a model",
    "contacts": "contact maps, predicted over true, for chosen proteins",
    "confusion": "which classes are taken for which",
    "scatter": "predicted against measured values, with density",
    "length": "the primary metric by sequence length",
    "mutations": "the primary metric by number of mutations (needs the data)",
    "calibration": "how often the model is right against how sure it says it is",
    "training": "both losses, and the main metric on valid, by epoch (protocol finetune)",
}

_OF_KIND: dict[Kind, tuple[str, ...]] = {
    "token_class": ("confusion", "length", "calibration"),
    "sequence_class": ("length", "calibration"),
    "sequence_value": ("scatter", "length", "mutations"),
    "residue_pair": ("contacts", "length", "calibration"),
}


def of_leaderboard(board: Leaderboard, kinds: Sequence[str] = ()) -> list[Plot]:
    """List the pictures of a leaderboard: those of the kinds asked for, or all."""
    from tape_bench.report.plots import overview

    plots = []
    for section in board.sections:
        ours = [row for row in section.rows if not row.published]
        suffix = "-simulated" if section.simulated else ""
        if ours and "overview" in (kinds or PLOTS):
            caption = (
                f"Our runs{_shown(ours, overview.MOST_ROWS)} with 95 % intervals; "
                "squares: controls; hollow: not a TAPE score."
            )
            plots.append(
                Plot(
                    f"overview{suffix}",
                    caption,
                    partial(overview.intervals, section),
                    narrow=partial(overview.intervals, section, across=1),
                    title=caption,
                    simulated=section.simulated,
                )
            )
        theirs = {group.protocol for group in section.groups if group.published}
        if ours and theirs and "published" in (kinds or PLOTS):
            caption = (
                f"Our runs{_shown(ours, overview.MOST_PANELS)} among published figures "
                f"(grey: {', '.join(sorted(theirs))}); squares: controls; hollow: measured "
                "otherwise than TAPE's figures."
            )
            plots.append(
                Plot(
                    "published",
                    caption,
                    partial(overview.against_published, section),
                    narrow=partial(overview.against_published, section, across=1),
                    title=caption,
                )
            )
    return plots


def of_record(
    filed: Filed,
    kinds: Sequence[str] = (),
    proteins: Sequence[str] = (),
    data: str | Path | None = None,
) -> list[Plot]:
    """List the pictures of a record's predictions on the headline split.

    Args:
        filed: a complete record.
        kinds: names of pictures; all that fit the task if empty.
        proteins: ids for contact maps; four of different length if empty.
        data: where the task's sequences are; the number of mutations needs them.

    Raises:
        RecordError: the predictions are missing or are not those of the record.
        UsageError: no such protein.
    """
    record = filed.record
    task = record.task
    chosen = of_kind(filed, kinds)
    if "training" in (kinds or PLOTS) and histories(record):
        chosen.append("training")
    if data is None and "mutations" not in kinds:
        chosen = [kind for kind in chosen if kind != "mutations"]
    if not chosen:
        return []
    target = task.primary.split(".", 1)[0]
    seeds = filed.predictions().get((target, task.headline))
    if not seeds:
        return []
    card = registry.task(task.id) if task.id in registry.task_names() else None
    first = seeds[0]
    draws: dict[str, Callable[[], Figure] | None] = {
        "contacts": lambda: _contacts(first, proteins),
        "confusion": lambda: _confusion(first, card, target),
        "scatter": lambda: _scatter(first, card, target),
        "calibration": lambda: _calibration(first),
        "length": _by_length(filed, seeds),
        "training": lambda: training.draw(histories(record)),
        "mutations": _by_mutations(filed, seeds, card, data) if "mutations" in chosen else None,
    }
    place = store.path_of(Path(), record)
    about = f"{record.model.name}, {card.title if card else task.id}, {task.headline}"
    title = f"{about}\n{_setting(record)}"
    return [
        Plot(
            f"{place.parts[0]}/{kind}-{place.parts[2]}-{place.stem}",
            f"{PLOTS[kind]}: {about}; {_setting(record)}",
            draw,
            title=title,
            simulated=task.data.status == "simulated",
        )
        for kind in chosen
        if (draw := draws[kind])
    ]


def of_kind(filed: Filed, kinds: Sequence[str] = ()) -> list[str]:
    """Name the pictures that a record's predictions give, of those asked for."""
    return [
        kind
        for kind in _OF_KIND.get(cast(Kind, filed.record.task.kind), ())
        if kind in (kinds or PLOTS)
    ]


def _setting(record: RunRecord) -> str:
    protocol = record.protocol
    seeds = ", ".join(str(seed) for seed in protocol.seeds)
    parts = [
        f"{record.task.data.status} data",
        f"the first {record.limit} records" if record.limit is not None else "",
        protocol.id,
        f"head {protocol.resolved['head']}" if "head" in protocol.resolved else "",
        f"seed{'s' * (len(protocol.seeds) > 1)} {seeds}",
    ]
    return ", ".join(filter(None, parts))


def _shown(rows: Sequence[Row], most: int) -> str:
    return f" (the first {most} of {len(rows)})" if len(rows) > most else ""


def _contacts(predictions: Predictions, proteins: Sequence[str]) -> Figure:
    from tape_bench.report.plots import detail

    for id in proteins:
        if id not in predictions.ids:
            raise unknown_name("protein", id, predictions.ids)
    if not proteins:
        order = np.argsort(predictions.lengths, kind="stable")
        count = min(detail.MOST_PROTEINS, len(order))
        spread = np.linspace(0, len(order) - 1, count + 2)[1:-1].round().astype(int)
        proteins = [predictions.ids[order[place]] for place in spread]
    return detail.contact_maps(predictions, proteins)


def _confusion(predictions: Predictions, card: TaskCard | None, target: str) -> Figure:
    from tape_bench.report.plots import detail

    labels = card.target(target).labels if card else ()
    return detail.confusion(
        predictions, labels or [str(i) for i in range(predictions.values.shape[1])]
    )


def _scatter(predictions: Predictions, card: TaskCard | None, target: str) -> Figure:
    from tape_bench.report.plots import detail

    return detail.scatter(predictions, card.target(target).unit if card else "")


def _calibration(predictions: Predictions) -> Figure:
    from tape_bench.report.plots import detail

    return detail.calibration(predictions)


def _by_length(filed: Filed, seeds: Sequence[Predictions]) -> Callable[[], Figure] | None:
    from tape_bench.report.plots import slices

    lengths = seeds[0].lengths
    if not slices.varies(lengths):
        return None
    groups, labels = slices.groups_of(lengths)
    return partial(_sliced, filed, seeds, groups, labels, "residues")


def _by_mutations(
    filed: Filed, seeds: Sequence[Predictions], card: TaskCard | None, data: str | Path | None
) -> Callable[[], Figure] | None:
    from tape_bench.data.examples import load_task
    from tape_bench.report.plots import mutations, slices

    if card is None or data is None:
        raise UsageError("the picture by mutations needs the data", fix="say where it is: --data")
    loaded = load_task(card, data)
    counts = mutations.counts(loaded[card.split_of("train")], loaded[card.headline], seeds[0].ids)
    if counts is None:
        return None
    groups, labels = slices.group_each(counts)
    return partial(_sliced, filed, seeds, groups, labels, "mutations")


def _sliced(
    filed: Filed,
    seeds: Sequence[Predictions],
    groups: np.ndarray[tuple[int], np.dtype[np.int64]],
    labels: list[str],
    what: str,
) -> Figure:
    from tape_bench.report.plots import slices
    from tape_bench.scoring.metrics import find

    task = filed.record.task
    metric = find(task.primary.split(".", 1)[1], cast(Kind, task.kind))
    headline = filed.record.headline
    label = headline.label if headline else task.primary
    found = slices.sliced(metric, seeds, groups, labels)
    return slices.draw({filed.record.model.name: found}, what, label, len(seeds[0].ids))
