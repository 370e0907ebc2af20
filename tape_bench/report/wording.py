"""How scores, names and notes are worded, the same in every format meant for people."""

from __future__ import annotations

from itertools import groupby

from tape_bench.report.leaderboard.table import (
    Cell,
    Column,
    Group,
    Leaderboard,
    PublishedScore,
    Remeasured,
    Row,
)

DASH = "—"
DAGGER = "†"
TIED = "≈"


def plain(text: str) -> str:
    """Return text that cannot steer a terminal or hide: unprintable characters are spelt out."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def number(value: float, digits: int, sign: str = "") -> str:
    """Write a number with a true minus sign, and never a negative zero."""
    return format(value, f"{sign}z.{digits}f").replace("-", "−")


def value(cell: Cell) -> str:
    """Write the score, or what there is in place of one."""
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


def legend(leaderboard: Leaderboard, ranks: bool = True) -> list[str]:
    """Explain the signs of a table: those that stand in it, and no others.

    Args:
        leaderboard: the table.
        ranks: whether the format shows ranks and gains.
    """
    cells = list(leaderboard.cells)
    compared = ranks and any(cell.rank and cell.ranked > 1 for cell in cells)
    gains = ranks and any(cell.gain is not None for cell in cells)
    lines = {
        f"{DAGGER} must not be set beside the other scores, for the reason in its footnote.": any(
            cell.daggers for cell in cells
        ),
        f"{TIED} tied: its interval overlaps the best score's.": any(cell.tied for cell in cells),
        "Intervals are 95 % intervals over proteins; each record says how they were made.": any(
            cell.low is not None for cell in cells
        ),
        "Ranks (#) compare scores of one group only: the same protocol, metric, split and data.": (
            compared
        ),
        "+ and − give the gain over the best control of the group.": gains,
    }
    return [line for line, occurs in lines.items() if occurs]


def marks(leaderboard: Leaderboard) -> bool:
    """Whether any score stands out as best or second."""
    return any(cell.mark for cell in leaderboard.cells)


def group(one: Group) -> str:
    """Write what a group's rows have in common, e.g. `probe` or `published, finetune`."""
    return f"published, {plain(one.protocol)}" if one.published else plain(one.protocol)


def basis(one: Group, column: int) -> list[str]:
    """Write what a column of a group rests on, e.g. `partial data` and `n = 513`."""
    cell, n = one.basis(column), one.proteins(column)
    said = [
        f"{plain(cell.data)} data" if cell.data and not one.published else "",
        f"first {cell.limit}" if cell.limit is not None else "",
        f"n = {n}" if n is not None else "",
    ]
    return [part for part in said if part]


def proteins(one: Group, column: int, cell: Cell) -> str:
    """Write how many proteins a score rests on, where the group's scores do not agree."""
    known = cell.n is not None and one.proteins(column) is None
    return f"n = {cell.n}" if known else ""


def kind(row: Row) -> str:
    """Write what sort of row it is, e.g. `control, bfloat16`."""
    return ", ".join(filter(None, ("control" if row.control else "", plain(row.variant))))


def by_protocol(leaderboard: Leaderboard) -> list[tuple[str, list[PublishedScore]]]:
    """Part the published scores by protocol and what moved."""
    parted = groupby(leaderboard.published, lambda one: one.way)
    return [(way, list(scores)) for way, scores in parted]


def comparable(one: PublishedScore) -> str:
    """Write whether a published score may stand beside ours, and what to bear in mind."""
    if one.comparable:
        return f"yes; {one.reason}" if one.reason else "yes"
    return f"no: {one.reason}"


def measured_again(one: Remeasured) -> str:
    """Write our score of a published model, with its interval."""
    value = number(one.value, 3)
    if one.low is None or one.high is None:
        return value
    return f"{value} ({number(one.low, 3)} – {number(one.high, 3)})"


def difference(one: Remeasured) -> str:
    """Write how much better ours is, unless the two are different metrics."""
    if not one.published.comparable:
        return f"{DASH}, another metric: {one.published.metric}"
    return number(one.value - one.published.value, one.published.digits, "+")
