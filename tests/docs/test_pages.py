"""What README and the pages tell people to type: every command is one, every snippet runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tape_bench.cli import program
from tape_bench.results import frames

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "docs" / "python.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """Yield the fenced code blocks of a page in these languages."""
    fenced = r"^```(\w*)\n(.*?)^```"
    for language, text in re.findall(fenced, page.read_text(encoding="utf-8"), re.M | re.S):
        if language in languages:
            yield text


def commands(page: Path) -> Iterator[str]:
    """Yield what a page's shell and workflow blocks have after the program's name, by line."""
    calls = r"(?:^|&& |run: |srun )\s*tape-bench (.*)|-m tape_bench\.cli (.*)"
    for text in blocks(page, "sh", "bash", "yaml", ""):
        for line in text.replace("\\\n", " ").splitlines():
            if found := re.search(calls, line):
                yield next(filter(None, found.groups())).strip()


TYPED = [(page.name, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(("page", "typed"), TYPED, ids=[f"{p}: {c}" for p, c in TYPED])
def test_every_command_on_a_page_is_one(page: str, typed: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [word for word in shlex.split(typed, comments=True) if word != "…"]
    command: click.Command | None = program
    context = click.Context(program)
    while isinstance(command, click.Group) and arguments:
        command = command.get_command(context, arguments.pop(0))
    assert command is not None, f"{page} names a command that is not there"
    for word in arguments:
        # What a reader has, the page takes for granted.
        if re.fullmatch(r"[\w.-][\w./-]*", word) and not word.startswith("-"):
            place = tmp_path / word
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch() if place.suffix else place.mkdir(exist_ok=True)
    with command.make_context(str(command.name), arguments):
        pass


@pytest.mark.parametrize("snippet", list(blocks(ROOT / "README.md", "python")))
def test_every_python_snippet_of_readme_runs(snippet: str, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet, "snippet", "exec"), names)
    assert all(record.status == "complete" for record in names["records"])
    assert [len(vectors) for vectors in names["vectors"]] == [len("MKTAYIAKQR")]


def test_the_page_from_python_runs_from_top_to_bottom(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAPE_BENCH_OUT")
    session: dict[str, Any] = {"__name__": "session"}
    for snippet in blocks(PYTHON, "python"):
        exec(compile(snippet, "snippet", "exec"), session)

    # It would run as well if it did nothing: what it says of its session is so.
    frame = session["frame"]
    assert set(frame.model) == {"onehot", "positional"}
    assert set(frame.task) == {"stability", "fluorescence"}
    assert {row.split for row in frame.itertuples() if row.headline} == {"test"}
    assert len(session["worst"]) == 5
    assert {change.task for change in session["found"].changes} == {"stability", "fluorescence"}
    assert "did you mean stability" in capsys.readouterr().out


def test_the_page_from_python_lists_the_columns_of_records():
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", PYTHON.read_text("utf-8"), re.M)
    assert dict(listed) == frames.RECORDS
    assert [name for name, _ in listed] == list(frames.RECORDS)
