"""Several models in one picture: each with a line of its own, over the same proteins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np

from tape_bench import registry
from tape_bench.cards import Kind
from tape_bench.report.plots import detail, slices, style
from tape_bench.report.plots.style import Plot
from tape_bench.results.collect import Filed
from tape_bench.results.record import RunRecord
from tape_bench.scoring.metrics import Metric, find
from tape_bench.scoring.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = len(style.PALETTE)
"""Models one picture can hold: each has a colour of its own."""

Lines = Mapping[str, Sequence[Predictions]]
"""By the model's name, its predictions, one for each seed."""


def of_records(filed: Sequence[Filed], kinds: Sequence[str] = ()) -> list[Plot]:
    """List the pictures that set models beside each other, by task and data.

    Args:
        filed: complete records whose predictions are at hand; others are passed over.
        kinds: names of pictures; `length` and `calibration` if empty.
    """
    same: dict[tuple[str, str, str, int | None], list[Filed]] = defaultdict(list)
    for one in filed:
        task = one.record.task
        same[task.id, task.headline, task.data.digest, one.record.limit].append(one)
    return [plot for group in same.values() if len(group) > 1 for plot in _of_group(group, kinds)]


def _of_group(group: Sequence[Filed], kinds: Sequence[str]) -> list[Plot]:
    record = group[0].record
    task = record.task
    place = task.primary.split(".", 1)[0], task.headline
    lines: dict[str, Sequence[Predictions]] = {}
    for one in group[:MOST_LINES]:
        lines[_name(one.record, lines)] = one.predictions().get(place, [])
    first = next(iter(lines.values()))
    # The same data may still have been cut by different length policies.
    if not first or any({*other[0].ids} != {*first[0].ids} for other in lines.values() if other):
        return []
    draws = {"length": _by_length(record, lines)}
    if task.kind != "sequence_value":
        draws["calibration"] = partial(calibration, lines)
    card = registry.task(task.id) if task.id in registry.task_names() else None
    shown = f", the first {MOST_LINES} of {len(group)} models" if len(group) > MOST_LINES else ""
    about = f"{card.title if card else task.id}, {task.headline}{shown}"
    return [
        Plot(
            f"together/{kind}-{task.id}-{task.data.digest[:8]}",
            f"Models beside each other, {kind}: {about}",
            draw,
            title=f"{about}\n{task.data.status} data",
            simulated=task.data.status == "simulated",
        )
        for kind, draw in draws.items()
        if draw and (not kinds or kind in kinds)
    ]


def _name(record: RunRecord, taken: Mapping[str, object]) -> str:
    """Name a line by its model, and by what else tells it from those before."""
    head = str(record.protocol.resolved.get("head", record.protocol.id))
    for name in (record.model.name, f"{record.model.name} ({head})"):
        if name not in taken:
            return name
    return f"{record.model.name} ({head}, {len(taken) + 1})"


def _by_length(record: RunRecord, lines: Lines) -> partial[Figure] | None:
    reference = next(iter(lines.values()))[0]
    if not slices.varies(reference.lengths):
        return None
    _, labels = slices.groups_of(reference.lengths)
    metric = find(record.task.primary.split(".", 1)[1], cast(Kind, record.task.kind))
    label = record.headline.label if record.headline else record.task.primary
    return partial(_sliced, lines, metric, labels, label)


def _sliced(lines: Lines, metric: Metric, labels: list[str], label: str) -> Figure:
    found = {
        name: slices.sliced(metric, seeds, slices.groups_of(seeds[0].lengths)[0], labels)
        for name, seeds in lines.items()
    }
    total = len(next(iter(lines.values()))[0].ids)
    return slices.draw(found, "residues", label, total)


def calibration(lines: Lines) -> Figure:
    """Draw, for each model, how often it is right against how sure it says it is."""
    figure, (panel,) = style.figure(1, 1, 5.2, 4.2)
    panel.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.9, linestyle="--")
    for number, (name, seeds) in enumerate(lines.items()):
        said, true, counts = detail.reliability(*detail.confidence(seeds[0]))
        error = float(np.abs(said - true) @ counts / counts.sum())
        panel.plot(
            said, true, f"{style.MARKERS[number]}-", color=style.PALETTE[number], markersize=4,
            label=f"{style.name(name)}: error {error:.3f}",
        )  # fmt: skip
    panel.set_xlim(0, 1)
    panel.set_xlabel("confidence")
    panel.set_ylabel("share that is right")
    figure.legend(loc="outside lower center", ncols=2)
    return figure
