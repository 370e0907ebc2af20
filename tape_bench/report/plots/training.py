"""How training went: both losses, and the main metric on valid, by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tape_bench.report.plots import style
from tape_bench.results.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

History = list[tuple[float | None, float | None, float | None]]
"""By epoch: training loss, validation loss, and the main metric on valid."""


def histories(record: RunRecord) -> dict[str, tuple[History, int]]:
    """Return what a record keeps of its training, by `target, seed N`: epochs, and the chosen one.

    Empty for a protocol that keeps none.
    """
    found: dict[str, tuple[History, int]] = {}
    for key, chosen in sorted(record.protocol.selected.items()):
        rows = chosen.get("history") if isinstance(chosen, Mapping) else None
        if not isinstance(rows, list) or not all(_is_row(row) for row in rows):
            continue
        epoch = chosen.get("epoch")
        target, _, seed = key.rpartition("/")
        history: Any = [tuple(row) for row in rows]
        if history and isinstance(epoch, int) and 1 <= epoch <= len(history):
            found[f"{target}, seed {seed}"] = history, epoch
    return found


def draw(found: Mapping[str, tuple[History, int]]) -> Figure:
    """Draw the losses of every target and seed above each other, the metric beside them."""
    drawn, (losses, metrics) = style.figure(1, 2, 8.0, 3.4)
    for number, (name, (history, epoch)) in enumerate(found.items()):
        colour = style.PALETTE[number % len(style.PALETTE)]
        epochs = range(1, len(history) + 1)
        train, valid, metric = ([row[place] for row in history] for place in range(3))
        losses.plot(epochs, _gaps(train), "--", color=colour, linewidth=1)
        losses.plot(epochs, _gaps(valid), "-o", color=colour, markersize=3, label=name)
        metrics.plot(epochs, _gaps(metric), "-o", color=colour, markersize=3)
        for axes, values in ((losses, valid), (metrics, metric)):
            chosen = values[epoch - 1]
            if chosen is not None:
                axes.plot([epoch], [chosen], "o", color=colour, markersize=9, fillstyle="none")
    losses.set(xlabel="epoch", ylabel="loss", title="train (dashed) and valid")
    metrics.set(xlabel="epoch", ylabel="main metric on valid", title="circled: the epoch kept")
    losses.legend(fontsize=8)
    for axes in (losses, metrics):
        axes.locator_params(axis="x", integer=True)
    return drawn


def _is_row(row: object) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and all(one is None or isinstance(one, int | float) for one in row)
    )


def _gaps(values: list[Any]) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]
