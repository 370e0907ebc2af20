"""The table model of leaderboards: what every format renders, and nothing about how it looks."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pandas import DataFrame

State = Literal["scored", "undefined", "failed", "unfinished", "absent"]
Mark = Literal["best", "second"]


@dataclass(frozen=True)
class Column:
    """One task, measured by its primary metric on its headline split."""

    task: str
    title: str
    metric: str
    label: str
    split: str
    version: str | None = None
    """Version of the task's card; None for a task that is known from its records only."""
    higher_is_better: bool = True


@dataclass(frozen=True)
class Cell:
    """One score, and everything needed to read it rightly."""

    state: State = "absent"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    """Proteins the value rests on."""
    digits: int = 3
    """Decimals worth showing: published scores have two."""
    daggers: tuple[str, ...] = ()
    """Why the score may not be set beside the published ones."""
    remarks: tuple[str, ...] = ()
    """What else to bear in mind."""
    data: str = ""
    """Status of the data behind the score, e.g. `official` or `partial`."""
    data_digest: str = ""
    limit: int | None = None
    """Records used of each split, from the first, where not all were."""
    metric: str | None = None
    """Id of the metric, where it is not the column's."""
    split: str | None = None
    """Name of the split, where it is not the column's."""
    seeds: tuple[int, ...] = ()
    run_key: str = ""
    record: str = ""
    """The file the record stands in, where that is known."""
    pool: str | None = None
    """Scores of one pool (protocol, data) may be ranked together; None is ranked with nothing."""
    rank: int | None = None
    ranked: int = 0
    """How many scores the pool has."""
    mark: Mark | None = None
    tied: bool = False
    """Not the best, but its interval overlaps the best score's."""
    gain: float | None = None
    """How much better than the best control on the same data."""
    gain_over: str | None = None
    """Which control that is."""

    @property
    def notes(self) -> tuple[str, ...]:
        """All footnotes of the cell, daggers first."""
        return self.daggers + self.remarks


@dataclass(frozen=True)
class Row:
    """One model under one protocol: a run of ours, or a published row."""

    model: str
    variant: str
    """What tells it from rows of the same name: precision, layer, head; may be empty."""
    protocol: str
    """With its version where that is not the newest here."""
    cells: tuple[Cell, ...]
    """One for each column, in order."""
    control: bool = False
    published: bool = False
    citation: str | None = None
    """Key of the BibTeX file, for a published row."""
    source: str = ""
    """Where the scores of a published row stand."""
    remarks: tuple[str, ...] = ()

    @property
    def statuses(self) -> tuple[str, ...]:
        """The statuses of the data behind the row's scores, each once."""
        return tuple(sorted({cell.data for cell in self.cells if cell.data}))


@dataclass(frozen=True)
class Group:
    """Rows that compare like with like: one protocol, and the same data in every column."""

    protocol: str
    published: bool
    rows: tuple[Row, ...]

    def basis(self, column: int) -> Cell:
        """Return a cell that tells on what data the group's scores of a column rest."""
        cells = [row.cells[column] for row in self.rows]
        return next((cell for cell in cells if cell.data), cells[0])

    def proteins(self, column: int) -> int | None:
        """Return how many proteins all scores of one column rest on; None where they differ."""
        counts = {row.cells[column].n for row in self.rows} - {None}
        return counts.pop() if len(counts) == 1 else None


@dataclass(frozen=True)
class Section:
    """Rows that may stand in one table: real data, or simulated data, never both."""

    caption: str
    simulated: bool
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, group by group."""
        return tuple(row for group in self.groups for row in group.rows)


@dataclass(frozen=True)
class PublishedScore:
    """One score of others, with all that is known of how it was measured."""

    way: str
    """Protocol and what moved, e.g. `finetune`, `finetune, LoRA` or `frozen, head`."""
    model: str
    task: str
    metric: str
    split: str
    value: float
    digits: int
    comparable: bool
    reason: str
    """Why it is not comparable, or what to bear in mind."""
    source: str


@dataclass(frozen=True)
class Remeasured:
    """A published score beside ours of the same model."""

    published: PublishedScore
    model: str
    """Ours."""
    way: str
    """Our protocol and head."""
    value: float
    low: float | None
    high: float | None
    why: str
    """What explains the difference."""


@dataclass(frozen=True, repr=False)
class Leaderboard:
    """The whole table with its footnotes, each of which stands once."""

    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = ()
    """What a reader must know of the whole table: records left out, mixed data."""
    citations: tuple[str, ...] = ()
    """BibTeX keys of the data sets and baselines that appear."""
    published: tuple[PublishedScore, ...] = ()
    """Every published score of the tasks shown, protocol by protocol; for pages, not terminals."""
    remeasured: tuple[Remeasured, ...] = ()
    """Models of published rows that were measured here, too."""

    def to_frame(self) -> DataFrame:
        """Return one row for each score, with the columns of the CSV format."""
        from tape_bench.report import frames

        return frames.of_leaderboard(self)

    def __repr__(self) -> str:
        """Show the tables at Python's prompt, as `tape-bench report` does."""
        from tape_bench.report.leaderboard.formats import terminal

        return terminal.text(self)

    def _repr_html_(self) -> str:
        """Show the tables in a notebook."""
        from tape_bench.report.leaderboard.formats import html

        return html.notebook(self)

    @property
    def cells(self) -> Iterator[Cell]:
        """Every score of the table."""
        return (cell for section in self.sections for row in section.rows for cell in row.cells)

    @cached_property
    def footnotes(self) -> dict[str, str]:
        """Text of every footnote -> its letter, in order of first appearance."""
        letters = _letters()
        found: dict[str, str] = {}
        for section in self.sections:
            for row in section.rows:
                for text in (*row.remarks, *(note for cell in row.cells for note in cell.notes)):
                    if text not in found:
                        found[text] = next(letters)
        return found


def _letters() -> Iterator[str]:
    width = 1
    while True:
        for letter in string.ascii_lowercase.replace("q", ""):
            yield letter * width
        width += 1
