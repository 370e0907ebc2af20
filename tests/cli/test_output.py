"""What an encoding has no letter for is replaced, in every verb; numbers keep their sign."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from tape_bench.cli import main
from tape_bench.cli.output import (
    PIPE_WIDTH,
    accept_any_encoding,
    nearest,
    table_console,
    warn_as_errors_are_told,
)
from tape_bench.results.store import find, read

RECORDS = Path(__file__).resolve().parents[2] / "results" / "real"


@pytest.mark.parametrize(
    ("letter", "plain"),
    [
        ("−", "-"),
        ("ρ", "rho"),
        ("≥", ">="),
        ("ᵃ", "a"),
        ("é", "e"),
        ("蛋", "?"),
        ("\udce9", r"\xe9"),
    ],
)
def test_the_nearest_letters(letter: str, plain: str):
    assert nearest(letter) == plain


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch):
    """Run the program with standard streams of an encoding; return its exit code and output."""

    def written(encoding: str, *arguments: object) -> tuple[object, bytes]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, "argv", ["tape-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        for stream in streams:
            stream.flush()
        return end.value.code, b"".join(stream.buffer.getvalue() for stream in streams)

    return written


VERBS = {
    "tasks": ["tasks"],
    "one task": ["tasks", "contact"],
    "models": ["models"],
    "one model": ["models", "onehot"],
    "schema": ["schema"],
    "doctor": ["doctor"],
    "cache": ["cache", "status"],
    "data": ["data", "status", "--data", "sample"],
    "report": ["report", RECORDS],
    "markdown": ["report", RECORDS, "--format", "markdown"],
    "csv": ["report", RECORDS, "--format", "csv"],
    "latex": ["report", RECORDS, "--format", "latex"],
    "html": ["report", RECORDS, "--format", "html", "--no-plots"],
    "bibtex": ["report", RECORDS, "--bibtex"],
    "history": ["history", "stability", "onehot", RECORDS],
    "check": ["check", RECORDS, "--against", RECORDS],
}


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb(written, verb: str, encoding: str):
    code, output = written(encoding, *VERBS[verb])
    assert code == 0
    assert output
    output.decode(encoding)
    if encoding == "ascii":
        assert "─" not in output.decode("utf-8")


@pytest.mark.parametrize("help", [["--help"], ["run", "--help"], ["report", "--help"]])
def test_help(written, help: list[str]):
    code, output = written("ascii", *help)
    assert code == 0
    assert "Usage" in output.decode("ascii")


def test_an_error_in_letters_that_are_lacking(written):
    code, output = written("ascii", "tasks", "Löslichkeit")
    assert code == 2
    assert "'Loslichkeit'" in output.decode("ascii")


def test_a_minus_sign_is_not_lost():
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        accept_any_encoding()
        print("−0.084 ± 0.02")
    stream.flush()
    assert stream.buffer.getvalue() == b"-0.084 +- 0.02\n"


def test_files_are_utf_8_whatever_the_terminal_is(written, tmp_path: Path):
    for encoding in ("ascii", "utf-8"):
        assert written(encoding, "report", RECORDS, "-o", tmp_path / f"{encoding}.md")[0] == 0
    text = (tmp_path / "ascii.md").read_text(encoding="utf-8")
    assert "ρ" in text
    assert text == (tmp_path / "utf-8.md").read_text(encoding="utf-8")


def test_a_locale_of_c():
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tape_bench.cli", "report", str(RECORDS)],
        capture_output=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert b"rho" in done.stdout


@pytest.mark.parametrize(("columns", "width"), [(None, PIPE_WIDTH), ("72", 72), ("200", 200)])
def test_a_pipe_is_as_wide_as_columns_says(monkeypatch, capsys, columns, width):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    assert table_console().width == width


def test_names_of_files_that_are_no_utf_8(written, tmp_path: Path):
    out = tmp_path / os.fsdecode(b"caf\xe9")
    arguments = ("composition", "-t", "stability", "--data", "sample", "--limit", 20)
    code, output = written("utf-8", "run", *arguments, "--out", out)
    assert code == 0
    assert rb"caf\xe9" in output
    (path,) = find(out)
    assert f"{tmp_path}/caf\\udce9" in read(path).provenance.command
    assert b"already complete" in written("utf-8", "run", *arguments, "--out", out)[1]


def test_warnings_of_the_program_are_told_like_its_errors(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    warn_as_errors_are_told()
    own = str(Path(__file__).resolve().parents[2] / "tape_bench" / "data" / "doubts.py")
    assert warnings.formatwarning("odd\n  where: here", UserWarning, own, 3) == (
        "warning: odd\n  where: here\n"
    )
    assert "user.py:3: UserWarning: odd" in warnings.formatwarning("odd", UserWarning, "user.py", 3)
