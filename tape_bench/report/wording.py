"""How figures, names and notes are worded, the same in every format meant for people."""

from __future__ import annotations

from tape_bench.report.table import Cell, Column, Leaderboard, Row, Section

DASH = "—"
DAGGER = "†"
TIED = "≈"

LEGEND = (
    f"{DAGGER} must not be set beside the other figures, for the reason in its footnote.",
    f"{TIED} tied: its interval overlaps the best figure's.",
    "Intervals are 95 % intervals over proteins; those that belong together count once.",
)

STANDING = (
    "Ranks (#) compare figures of the same metric, split and data only; "
    "+ and − give the gain over the best control there."
)


def plain(text: str) -> str:
    """Return text that cannot steer a terminal or hide: unprintable characters are spelt out."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def number(value: float, digits: int, sign: str = "") -> str:
    """Write a number with a true minus sign, and never a negative zero."""
    return format(value, f"{sign}z.{digits}f").replace("-", "−")


def value(cell: Cell) -> str:
    """Write the figure, or what there is in place of one."""
    if cell.value is not None:
        return number(cell.value, cell.digits)
    return cell.state if cell.state in ("failed", "unfinished") else DASH


def interval(cell: Cell) -> str:
    """Write the interval, e.g. `0.690 – 0.730`, or nothing."""
    if cell.low is None or cell.high is None:
        return ""
    return f"{number(cell.low, cell.digits)} – {number(cell.high, cell.digits)}"


def standing(cell: Cell) -> str:
    """Write rank and gain over the best control, e.g. `#1/4 +0.050`, or nothing."""
    rank = f"#{cell.rank}/{cell.ranked}" if cell.rank and cell.ranked > 1 else ""
    gain = number(cell.gain, cell.digits, "+") if cell.gain is not None else ""
    return " ".join(filter(None, (rank, gain)))


def letters(leaderboard: Leaderboard, notes: tuple[str, ...]) -> str:
    """Write the letters of footnotes, e.g. `a,c`."""
    found = (leaderboard.footnotes[note] for note in notes)
    return ",".join(sorted(found, key=lambda letter: (len(letter), letter)))


def heading(column: Column) -> str:
    """Write the metric of a column."""
    return column.label if column.higher_is_better else f"{column.label} (lower is better)"


def proteins(section: Section, index: int) -> str:
    """Write how many proteins the figures of a column rest on, where all agree."""
    counts = {row.cells[index].n for row in section.rows} - {None}
    return f"n = {counts.pop()}" if len(counts) == 1 else ""


def kind(row: Row) -> str:
    """Write what sort of row it is, e.g. `control, bfloat16`."""
    return ", ".join(filter(None, ("control" if row.control else "", plain(row.variant))))
