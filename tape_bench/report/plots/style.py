"""How every picture looks, and how it becomes a file."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tape_bench.atomic import replace
from tape_bench.report.wording import plain

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
    "pdf.fonttype": 42,
}

FORMATS = ("png", "svg", "pdf")

_DPI = 200

_LETTERS_PER_INCH = 13
"""Letters of a title's size that stand on an inch."""

_DATELESS = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Neither date nor version goes into a file: the same records give the same picture."""


@dataclass(frozen=True)
class Plot:
    """A picture not yet drawn."""

    name: str
    """File name without its ending, perhaps in a folder."""
    caption: str
    draw: Callable[[], Figure]
    narrow: Callable[[], Figure] | None = None
    """The same for a phone, its panels under one another."""
    title: str = ""
    """What stands above the picture: model, task, split, data."""
    simulated: bool = False


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes, row by row; width and height in inches.

    No window system is touched: figures are made without pyplot.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    # Room between the title of the picture and those of its panels.
    drawn = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.08))
    axes = drawn.subplots(rows, columns, squeeze=False)
    return drawn, list(axes.ravel())


def name(text: str, width: int = 28, lines: int = 3) -> str:
    """Return a name as a picture can show it: in lines of a width, no formulas, nothing hidden.

    Only what would take more than so many lines is cut.
    """
    found = textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" …") or [""]
    return "\n".join(found).replace("$", r"\$")


def svg(plot: Plot, narrow: bool = False) -> bytes:
    """Draw a picture as an SVG file's content."""
    out = io.BytesIO()
    _draw(plot, out, "svg", narrow)
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


def _draw(plot: Plot, out: Path | IO[bytes], format: str, narrow: bool = False) -> None:
    import matplotlib

    dateless: dict[str, str | None] = {"Title": plain(plot.caption), **_DATELESS[format]}
    with matplotlib.rc_context(_SETTINGS):
        drawn = plot.narrow() if narrow and plot.narrow else plot.draw()
        entitle(drawn, plot)
        drawn.savefig(out, format=format, dpi=_DPI, metadata=dateless)


def entitle(drawn: Figure, plot: Plot) -> None:
    """Set above a picture what it shows, in lines no wider than it."""
    letters = int(drawn.get_figwidth() * _LETTERS_PER_INCH)
    mark = "SIMULATED DATA: this says nothing about real proteins\n" if plot.simulated else ""
    text = "\n".join(name(line, letters) for line in f"{mark}{plot.title}".splitlines() if line)
    if text:
        ink = PALETTE[1] if plot.simulated else "black"
        drawn.suptitle(text, x=0.01, horizontalalignment="left", fontsize=9, color=ink)
