"""The leaderboard in LaTeX, for papers; it needs the package booktabs and nothing else."""

from __future__ import annotations

from tape_bench.report import wording
from tape_bench.report.leaderboard.table import Cell, Group, Leaderboard, Section

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "^": r"\textasciicircum{}", "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "†": r"$^{\dagger}$", "≈": r"$\approx$", "≥": r"$\geq$", "≤": r"$\leq$", "ρ": r"$\rho$",
    "×": r"$\times$", "−": r"$-$", "–": "--", "—": "---", "Å": r"\AA{}", "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "*": "{*}", "-": "{-}", "…": r"\ldots{}",
}  # fmt: skip


def render(leaderboard: Leaderboard) -> str:
    r"""Write one `table*` for each kind of data; needs `\usepackage{booktabs,textcomp}`."""
    head = "% \\usepackage{booktabs,textcomp} % and [T1]{fontenc}"
    tables = [_table(leaderboard, section) for section in leaderboard.sections]
    return "\n\n".join([head, *tables]) + "\n"


def escape(text: str) -> str:
    """Return text that LaTeX sets as it is; letters it may lack are spelt as code points.

    Brackets, stars and hyphens go into braces: after a line's end they would be arguments of it,
    and two hyphens would become one dash.
    """
    return "".join(
        _SPECIAL.get(char) or (char if char < "\u0180" else f"U+{ord(char):04X}")
        for char in wording.plain(text)
    )


def _table(leaderboard: Leaderboard, section: Section) -> str:
    count = len(section.columns)
    titles = " & ".join(["", *(escape(column.title) for column in section.columns)])
    metrics = " & ".join(["model", *(escape(wording.heading(c)) for c in section.columns)])
    splits = " & ".join(["", *(escape(column.split) for column in section.columns)])
    body = [
        line
        for group in section.groups
        for line in (r"\midrule", *_head(group), *_rows(leaderboard, group))
    ]
    notes = [
        *(f"note: {escape(warning)}" for warning in leaderboard.warnings),
        *(escape(line) for line in wording.legend(leaderboard, ranks=False)),
        *(f"$^{{{x}}}$~{escape(text)}" for text, x in leaderboard.footnotes.items()),
    ]
    marks = " Best of a group in bold, second underlined." if wording.marks(leaderboard) else ""
    return "\n".join(
        [
            r"\begin{table*}",
            r"\centering\small",
            rf"\caption{{{escape(section.caption)}.{marks}}}",
            rf"\begin{{tabular}}{{l{'r' * count}}}",
            r"\toprule",
            rf"{titles} \\",
            rf"{metrics} \\",
            rf"{splits} \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
            r"\smallskip\raggedright\footnotesize",
            " \\\\\n".join(notes),
            r"\end{table*}",
        ]
    )


def _head(group: Group) -> list[str]:
    count = len(group.rows[0].cells)
    basis = [", ".join(wording.basis(group, index)) for index in range(count)]
    cells = [rf"\emph{{{escape(wording.group(group))}}}", *(_small(said) for said in basis)]
    return [" & ".join(cells) + r" \\", r"\addlinespace"]


def _rows(leaderboard: Leaderboard, group: Group) -> list[str]:
    lines = []
    for row in group.rows:
        name = escape(row.model) + _raised(wording.letters(leaderboard, row.remarks))
        cells = [name, *(_figure(leaderboard, cell) for cell in row.cells)]
        lines.append(" & ".join(cells) + r" \\")
        below = [wording.kind(row)]
        for index, cell in enumerate(row.cells):
            parts = wording.interval(cell), wording.proteins(group, index, cell)
            below.append(", ".join(filter(None, parts)))
        if any(below):
            lines.append(" & ".join(_small(text) for text in below) + r" \\")
    return lines


def _small(text: str) -> str:
    return rf"{{\scriptsize {escape(text)}}}" if text else ""


def _figure(leaderboard: Leaderboard, cell: Cell) -> str:
    value = escape(wording.value(cell))
    if cell.mark:
        value = rf"\textbf{{{value}}}" if cell.mark == "best" else rf"\underline{{{value}}}"
    value += escape(wording.TIED) if cell.tied else ""
    value += escape(wording.DAGGER) if cell.daggers else ""
    return value + _raised(wording.letters(leaderboard, cell.notes))


def _raised(letters: str) -> str:
    return f"$^{{{letters}}}$" if letters else ""
