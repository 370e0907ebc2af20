"""What a model predicts and what is true: contact maps, confusion, scatter, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tape_bench.data.scorable import SMALLEST_SEPARATION
from tape_bench.report.plots import style
from tape_bench.scoring.predictions import Predictions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_PROTEINS = 4
"""Contact maps in one picture."""

BINS = 10
"""Of confidence, in pictures of calibration."""


def contact_maps(predictions: Predictions, chosen: Sequence[str]) -> Figure:
    """Draw predicted probabilities below the diagonal, true contacts above it.

    Over the true contacts stand circles for the L pairs predicted most surely, L residues.
    """
    offsets = predictions.offsets
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure, axes = style.figure(1, len(chosen), 3.2 * len(chosen) + 0.8, 4.0)
    places = [predictions.ids.index(id) for id in chosen]
    items = [slice(offsets[place], offsets[place + 1]) for place in places]
    top = max(float(predictions.values[one].max(initial=0)) for one in items)
    for panel, id, place, one in zip(axes, chosen, places, items, strict=True):
        length = int(predictions.lengths[place])
        values, targets = predictions.values[one], predictions.targets[one]
        image = panel.imshow(
            contact_map(values, targets, length),
            cmap=style.SEQUENTIAL, vmin=0, vmax=max(top, 0.01), interpolation="nearest",
        )  # fmt: skip
        rows, columns = np.triu_indices(length, SMALLEST_SEPARATION)
        surest = np.argsort(-values, kind="stable")[:length]
        panel.plot(
            columns[surest], rows[surest], "o",
            markersize=3, markerfacecolor="none", markeredgewidth=0.6, color=style.PALETTE[1],
        )  # fmt: skip
        panel.set_title(style.name(id))
        panel.set_xlabel("residue")
    figure.colorbar(image, ax=axes, label="predicted probability", shrink=0.8)
    highest = image.cmap(1.0)
    signs = [
        Patch(color=highest, label="above the diagonal: true contacts"),
        Patch(color=image.cmap(0.5), label="below: predicted probability"),
        Line2D(
            [], [], marker="o", linestyle="", markerfacecolor="none", color=style.PALETTE[1],
            label="the L pairs predicted most surely",
        ),
        Patch(
            facecolor="white", edgecolor=style.GREY,
            label=f"not scored: nearer than {SMALLEST_SEPARATION}, or not resolved",
        ),
    ]  # fmt: skip
    figure.legend(handles=signs, loc="outside lower center", ncols=min(4, 2 * len(chosen)))
    return figure


def contact_map(
    values: NDArray[np.float32], targets: NDArray[np.generic], length: int
) -> NDArray[np.float64]:
    """Lay pairs out as a map `[length, length]`: true ones above the diagonal, predicted below.

    NaN stands near the diagonal, and above it where a residue is not resolved.
    """
    laid = np.full((length, length), np.nan)
    rows, columns = np.triu_indices(length, SMALLEST_SEPARATION)
    laid[columns, rows] = values
    laid[rows, columns] = np.where(np.asarray(targets) >= 0, targets, np.nan)
    return laid


def confusion(predictions: Predictions, labels: Sequence[str]) -> Figure:
    """Draw which true classes are taken for which: rows sum to one."""
    counts = confusion_counts(predictions, len(labels))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.55 * len(labels)
    figure, (panel,) = style.figure(1, 1, side + 0.8, side)
    image = panel.imshow(shares, cmap=style.SEQUENTIAL, vmin=0, vmax=1)
    for row, column in np.ndindex(shares.shape):
        ink = "white" if shares[row, column] < 0.5 else "black"
        text = f"{shares[row, column]:.2f}"
        panel.text(column, row, text, ha="center", va="center", color=ink, fontsize=8)
    panel.set_xticks(range(len(labels)), labels)
    panel.set_yticks(range(len(labels)), labels)
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure


def confusion_counts(predictions: Predictions, classes: int) -> NDArray[np.int64]:
    """Count items by true and predicted class, `[classes, classes]`; unlabelled ones are out."""
    known = predictions.targets >= 0
    true = predictions.targets[known].astype(np.int64)
    said = predictions.values[known].argmax(axis=1)
    return np.bincount(true * classes + said, minlength=classes**2).reshape(classes, classes)


def scatter(predictions: Predictions, quantity: str) -> Figure:
    """Draw predicted against measured values, shaded by how many proteins lie there."""
    figure, (panel,) = style.figure(1, 1, 4.6, 3.8)
    measured, said = predictions.targets, predictions.values
    shaded = panel.hexbin(
        measured, said, gridsize=50, bins="log", mincnt=1, cmap=style.SEQUENTIAL, linewidths=0
    )
    ends = [float(measured.min()), float(measured.max())]
    panel.plot(ends, ends, color=style.PALETTE[1], linewidth=0.9, linestyle="--")
    panel.set_xlabel(style.name(f"measured ({quantity})" if quantity else "measured", 60))
    panel.set_ylabel("predicted")
    figure.colorbar(shaded, label="proteins", format="%g").minorticks_off()
    return figure


def calibration(predictions: Predictions) -> Figure:
    """Draw how often the model is right against how sure it says it is."""
    from matplotlib.ticker import LogLocator, NullFormatter

    sure, right = confidence(predictions)
    figure, (panel, below) = style.figure(2, 1, 4.2, 5.0)
    said, true, counts = reliability(sure, right)
    panel.plot([0, 1], [0, 1], color=style.GREY, linewidth=0.9, linestyle="--")
    panel.plot(said, true, "o-", color=style.PALETTE[0])
    error = float(np.abs(said - true) @ counts / counts.sum())
    panel.set_title(f"expected calibration error {error:.3f}")
    panel.set_ylabel("share that is right")
    histogram, edges = np.histogram(sure, BINS, (0, 1))
    below.bar(edges[:-1], histogram, width=1 / BINS, align="edge", color=style.PALETTE[4])
    below.set_yscale("log")
    below.set_ylim(bottom=0.7)
    # Round tens alone where there are several of them, or the axis is all letters.
    subs = (1.0,) if histogram.max() >= 100 else (1.0, 3.0)
    below.yaxis.set_major_locator(LogLocator(subs=subs))
    below.yaxis.set_major_formatter("{x:,.0f}")
    below.yaxis.set_minor_formatter(NullFormatter())
    below.set_ylabel("items")
    below.set_xlabel("confidence")
    for axes in (panel, below):
        axes.set_xlim(0, 1)
    return figure


def reliability(
    sure: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the mean confidence, the share that is right and the items of each filled bin."""
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    filled = counts > 0
    said = np.bincount(bins, sure, minlength=BINS)[filled] / counts[filled]
    true = np.bincount(bins, right, minlength=BINS)[filled] / counts[filled]
    return said, true, counts[filled]


def confidence(
    predictions: Predictions,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how sure the model is of each labelled item, and whether it is right, 0 or 1.

    Scores of classes that are no probabilities yet are made some by a softmax.
    """
    known = predictions.targets >= 0
    values = predictions.values[known].astype(np.float64)
    targets = predictions.targets[known]
    if predictions.kind == "residue_pair":
        return values, (targets == 1).astype(np.float64)
    if values.min() < 0 or not np.allclose(values.sum(axis=1), 1, atol=1e-3):
        values = np.exp(values - values.max(axis=1, keepdims=True))
        values /= values.sum(axis=1, keepdims=True)
    right = values.argmax(axis=1) == targets
    return values.max(axis=1), right.astype(np.float64)
