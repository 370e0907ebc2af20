from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from tape_bench.report.leaderboard import formats
from tape_bench.report.leaderboard.build import build_leaderboard
from tape_bench.report.leaderboard.formats import FORMATS, html, latex, markdown, terminal

NASTY = (
    "<script>alert(1)</script>|*x*_y_ [a](b) \\input{/etc/passwd} $x$ 50% #1 & \x1b[31m\u202e --"
)


@pytest.fixture
def board(make, cards):
    records = [
        make("contact", 0.3, model=NASTY, data="partial", reason=f"because {NASTY}"),
        make("contact", 0.2, model="=cmd()", control=True, data="partial"),
        make("contact", status="failed", error=NASTY, model="broken"),
    ]
    return build_leaderboard(records, [], cards, warnings=[NASTY])


@pytest.mark.parametrize("format", FORMATS)
def test_no_format_lets_control_characters_through(board, format):
    text = formats.render(board, format)

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan", "", text.lower())


@pytest.mark.parametrize("format", FORMATS)
def test_formats_are_the_same_every_time(board, format):
    assert formats.render(board, format) == formats.render(board, format)


def test_terminal_shows_names_as_they_are(board):
    out = io.StringIO()
    console = Console(file=out, width=300, force_terminal=True)

    terminal.terminal(board, console)

    assert "\x1b[31m" not in out.getvalue().replace("\x1b[31mfailed", "")
    assert "[a](b)" in out.getvalue()
    assert "\\x1b[31m" in out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_terminal_tables_stay_within_the_window(board, width):
    out = io.StringIO()

    terminal.terminal(board, Console(file=out, width=width))

    assert max(len(line) for line in out.getvalue().splitlines()) <= width


@pytest.mark.parametrize("format", ["markdown", "latex", "html", "terminal"])
def test_signs_are_explained_where_they_occur_and_nowhere_else(make, cards, format):
    signs = ("overlaps", "footnote.", "gain over", "compare scores of one group", "intervals")

    def explained(*records) -> list[str]:
        board = build_leaderboard(records, [], cards)
        if format == "terminal":
            out = io.StringIO()
            terminal.terminal(board, Console(file=out, width=200))
            text = out.getvalue()
        else:
            text = formats.render(board, format)
        return [sign for sign in signs if sign in text]

    plain = make(value=0.5, half_width=None)
    control = make(value=0.3, half_width=None, model="x", control=True)
    partial = make(half_width=None, data="partial")
    assert explained(plain) == []
    assert explained(make(value=0.5)) == ["intervals"]
    assert explained(partial) == ["footnote."]
    gains = ["gain over", "compare scores of one group"]
    assert explained(plain, control) == ([] if format == "latex" else gains)
    close = make(value=0.5), make(value=0.49, model="x")
    assert explained(*close) == (
        ["overlaps", "intervals"]
        if format == "latex"
        else ["overlaps", "compare scores of one group", "intervals"]
    )


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    VOID = frozenset({"meta", "input", "img", "br", "link", "source"})

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []
        self._open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_shows_names_and_runs_none_of_them(board):
    reader = Reader()
    reader.feed(formats.render(board, "html"))
    reader.close()

    assert reader.tags.count("script") == 1
    assert "<script>alert(1)</script>" in reader.text
    assert not reader._open


def test_what_stands_in_a_notebook_is_text_and_closes_what_it_opens(board):
    reader = Reader()
    reader.feed(html.notebook(board))
    reader.close()

    assert not reader._open
    assert {"script", "button", "a"}.isdisjoint(reader.tags)
    assert "<script>alert(1)</script>" in reader.text
    assert {"\x1b", "\u202e"}.isdisjoint(reader.text)
    # Several may stand in one notebook: what is there once only cannot be.
    assert "id" not in dict(reader.attributes)


def test_no_value_is_read_as_a_template(make, cards):
    board = build_leaderboard([make(model="{{ 7 * 7 }}{% raw %}")], [], cards)

    assert "{{ 7 * 7 }}{% raw %}" in formats.render(board, "html")


def test_html_is_self_contained(board):
    reader = Reader()
    reader.feed(html.render(board, [html.Picture("a picture", b"<svg/>", b"<svg/>")]))

    links = [value for name, value in reader.attributes if name in ("src", "href", "srcset")]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert "http" not in "".join(links)


def test_html_footnotes_exist(board):
    text = formats.render(board, "html")

    for letter in board.footnotes.values():
        assert f'href="#note-{letter}"' in text
        assert f'id="note-{letter}"' in text


def test_markdown_tables_keep_their_shape(board):
    lines = [line for line in formats.render(board, "markdown").splitlines() if line[:1] == "|"]

    # A pipe that is not escaped would be one more cell.
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {3}
    assert "<script>" not in "".join(lines)


def test_markdown_escapes_by_hand_worked_examples():
    assert markdown.escape("a|b") == "a\\|b"
    assert markdown.escape("*b*_c_") == "\\*b\\*\\_c\\_"
    assert markdown.escape("<i>&") == "&lt;i&gt;&amp;"


def test_csv_has_one_line_a_figure_and_no_formulas(board):
    rows = list(csv.DictReader(io.StringIO(formats.render(board, "csv"))))

    assert len(rows) == 3
    assert {row["model"][0] for row in rows} == {"<", "'", "b"}
    assert [row["value"] for row in rows if row["state"] == "failed"] == [""]
    assert {row["value"] for row in rows if row["state"] == "scored"} == {"0.3", "0.2"}


def test_json_carries_the_table_model(board):
    content = json.loads(formats.render(board, "json"))

    rows = [row for group in content["sections"][0]["groups"] for row in group["rows"]]
    assert rows[0]["model"] == NASTY.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    assert rows[0]["cells"][0]["value"] == 0.3


def test_latex_escapes_by_hand_worked_examples():
    assert latex.escape("50% & #1_a") == r"50\% \& \#1\_a"
    assert latex.escape(r"\input{x}") == r"\textbackslash{}input\{x\}"
    assert latex.escape("--") == "{-}{-}"
    assert latex.escape("[1]*") == "{[}1{]}{*}"
    assert latex.escape("蛋") == "U+86CB"


def test_latex_is_balanced_and_has_equal_columns(board):
    text = formats.render(board, "latex")
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]

    counted = text.replace(r"\{", "").replace(r"\}", "")
    assert counted.count("{") == counted.count("}")
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {1}
    assert text.isascii()
    assert r"\input" not in text
