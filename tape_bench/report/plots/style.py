"""How every picture looks, and how it becomes a file."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tape_bench.report.wording import plain
from tape_bench.storage import replace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#5A5A5A")
"""Okabe and Ito's colours, which colour-blind readers can tell apart; markers differ as well."""

MARKERS = "osD^vPX"

GREY = "#8C8C8C"
FAINT = "#E3E3E3"

SEQUENTIAL = "cividis"
"""A map that grows lighter evenly, also in grey and for colour-blind readers."""

_SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "tape-bench",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Plot:
    """A picture not yet drawn."""

    name: str
    """File name without its ending."""
    caption: str
    draw: Callable[[], Figure]


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes, row by row; width and height in inches.

    No window system is touched: figures are made without pyplot.
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    axes = drawn.subplots(rows, columns, squeeze=False)
    return drawn, list(axes.ravel())


def name(text: str, longest: int = 28) -> str:
    """Return a name as a picture can show it: not too long, nothing unprintable, no formulas."""
    text = plain(text)
    short = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return short.replace("$", r"\$")


def svg(plot: Plot) -> bytes:
    """Draw a picture as an SVG file's content."""
    out = io.BytesIO()
    _draw(plot, out, "svg")
    return out.getvalue()


def save(plot: Plot, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Draw a picture into a folder, once for each format.

    Raises:
        StorageError: the folder cannot be written.
    """
    paths = []
    for format in formats:
        paths.append(folder / f"{plot.name}.{format}")
        replace(paths[-1], partial(_draw, plot, format=format))
    return paths


def _draw(plot: Plot, out: Path | IO[bytes], format: str) -> None:
    import matplotlib

    # Neither date nor version goes into the file: the same records give the same picture.
    dateless: dict[str, str | None] = {"Title": plain(plot.caption)}
    dateless |= {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
    with matplotlib.rc_context(_SETTINGS):
        plot.draw().savefig(out, format=format, dpi=150, metadata=dateless)
