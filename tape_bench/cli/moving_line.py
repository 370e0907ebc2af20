"""The line that moves on a terminal: as much of what is known as its width holds, never broken."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from tape_bench.cli.progress import Phase, Teller

IMPORTANT_FIRST = ("count", "task", "phase", "note", "eta", "bar", "rate")
"""What stays longest as a terminal gets narrower."""

IN_ORDER = ("task", "phase", "bar", "count", "note", "rate", "eta")
"""What stands where, from left to right."""

SHORTEST = {"task": 20, "phase": 17, "bar": 8}
"""Columns below which what can be shortened is left out; the rest stands whole or not at all."""

BAR = 24
"""Columns of a bar for which there is room."""


class MovingLine(Teller):
    """For people: one line for the phase under way; what should be remembered stays above it."""

    def __init__(self, console: Console) -> None:
        """Draw on this console, inside a `with` block."""
        super().__init__()
        self._shown: Phase | None = None
        ascii_only = not console.encoding.startswith("utf")
        self._spinner = Spinner("line" if ascii_only else "dots")
        self._live = Live(
            console=console, transient=True, refresh_per_second=8, get_renderable=self._drawn
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the line away, and give the cursor back."""
        self.phase = None
        self._live.stop()

    def moved(self, phase: Phase) -> None:
        """Show a new phase at once; an old one is redrawn soon enough."""
        if phase is not self._shown:
            self._shown = phase
            self._live.refresh()

    def over(self, phase: Phase, how: str) -> None:
        """Keep in sight why a phase ended early."""
        if how:
            self._say(Text(f"{phase.task}: {phase.name}: {how}", style="dim"))

    def end(self, task: str, how: str) -> None:
        """Keep in sight how a task ended."""
        self.close("")
        self._say(Text.assemble(f"{task} ", (how, "red" if how == "failed" else "green")))

    def _say(self, text: Text) -> None:
        self._live.console.print(text, highlight=False)

    def _drawn(self) -> RenderableType:
        phase = self.phase
        return Group() if phase is None else _Line(phase, self._spinner)


class _Line:
    """A phase on one line of any width."""

    def __init__(self, phase: Phase, spinner: Spinner) -> None:
        self._phase = phase
        self._spinner = spinner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        spin = self._spinner.render(console.get_time())
        assert isinstance(spin, Text)
        # The last column stays free: some terminals go to the next line when it is filled.
        parts = fit(_parts(self._phase), options.max_width - spin.cell_len - 1)
        line = spin
        for name, part in parts.items():
            line.append(" ")
            line.append_text(
                _bar(self._phase, len(part), options.ascii_only)
                if name == "bar"
                else Text(part, "dim" if name in ("phase", "rate") else "")
            )
        line.no_wrap = True
        yield line


def _parts(phase: Phase) -> dict[str, str]:
    """Return what there is to tell, each as long as it would like to be."""
    count = phase.so_far()
    if phase.total and phase.unit != "bytes":
        # As wide as it will become: nothing behind it jumps.
        count = count.rjust(2 * len(f"{phase.total:,}") + len(phase.unit) + 2)
    return {
        "task": phase.task,
        "phase": phase.name,
        "bar": " " * BAR if phase.total else "",
        "count": count,
        "note": phase.note,
        "rate": phase.rate,
        "eta": phase.left,
    }


def fit(parts: Mapping[str, str], width: int) -> dict[str, str]:
    """Choose what a line holds, the more important first, and shorten what can be shortened.

    Args:
        parts: what there is to tell, by the names in `IN_ORDER`.
        width: columns there are; each part takes one more than its own, for the space before it.

    Returns:
        What stands in the line, in order.
    """
    given: dict[str, int] = {}
    for name in IMPORTANT_FIRST:
        wanted = cell_len(parts[name])
        least = min(wanted, SHORTEST.get(name, wanted))
        if 0 < least < width:
            given[name] = least
            width -= least + 1
    for name in SHORTEST:
        if name in given:
            more = min(width, cell_len(parts[name]) - given[name])
            given[name] += more
            width -= more
    return {name: _cut(parts[name], given[name]) for name in IN_ORDER if name in given}


def _cut(text: str, columns: int) -> str:
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"


def _bar(phase: Phase, columns: int, ascii_only: bool) -> Text:
    full = round(columns * min(phase.done / phase.total, 1))
    sign, rest = ("#", "-") if ascii_only else ("━", "━")
    return Text.assemble((sign * full, "green"), (rest * (columns - full), "bright_black"))
