"""Output of any encoding: what it has no letter for is replaced by the nearest that it has."""

from __future__ import annotations

import codecs
import io
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench import text

if TYPE_CHECKING:
    from rich.console import Console

NEAREST = str.maketrans(
    {
        "−": "-",
        "–": "..",  # between the ends of an interval, which may be negative
        "—": "-",
        "─": "-",
        "━": "-",
        "…": ".",
        "ρ": "rho",
        "±": "+-",
        "×": "x",
        "≥": ">=",
        "≤": "<=",
        "≈": "~",
        "†": "^",
        "·": ".",
        "“": '"',
        "”": '"',
        "’": "'",
        "→": "->",
    }
)

PIPE_WIDTH = 100
"""Columns of a table in a file or a pipe, which has no width of its own: five tasks need that."""


def accept_any_encoding() -> None:
    """Let no letter stop the program: standard output and standard error replace what they lack."""
    codecs.register_error("nearest", _replace)
    codecs.register(_ascii_by_another_name)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="plain_ascii" if ascii else None, errors="nearest")


def warn_as_errors_are_told() -> None:
    """Show the program's own warnings as it shows its errors, without the line of source."""
    package = str(Path(__file__).parents[1])
    as_python_does = warnings.formatwarning

    def told(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if filename.startswith(package):
            return f"warning: {text.lines(str(message))}\n"
        return as_python_does(message, category, filename, lineno, line)

    warnings.formatwarning = told


def table_console() -> Console:
    """Return a console as wide as the terminal, as COLUMNS says, or as a table of tasks needs."""
    from rich.console import Console

    from tape_bench.report.layout import console

    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return console() if known else Console(width=PIPE_WIDTH)


def note(line: str) -> None:
    """Tell something on the side, on standard error; what it quotes of files steers nothing."""
    click.echo(f"note: {text.lines(line)}", err=True)


@contextmanager
def aside() -> Iterator[None]:
    """Send what models and libraries print to standard error; standard output is for answers."""
    with redirect_stdout(sys.stderr):
        yield


def nearest(letter: str) -> str:
    """Return plain letters for one that an encoding lacks: `rho` for ρ, `e` for é, `?` for 蛋."""
    if "\udc80" <= letter <= "\udcff":
        # A byte of a file name that is not UTF-8.
        return f"\\x{ord(letter) - 0xDC00:02x}"
    plain = unicodedata.normalize("NFKD", letter.translate(NEAREST))
    return plain.encode("ascii", "ignore").decode() or "?"


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(nearest, error.object[error.start : error.end])), error.end


def _ascii_by_another_name(name: str) -> codecs.CodecInfo | None:
    """Find the codec `plain_ascii`: click writes UTF-8 to every stream that is called ASCII."""
    if name != "plain_ascii":
        return None
    ascii = codecs.lookup("ascii")
    return codecs.CodecInfo(
        name=name,
        encode=ascii.encode,
        decode=ascii.decode,
        streamreader=ascii.streamreader,
        streamwriter=ascii.streamwriter,
        incrementalencoder=ascii.incrementalencoder,
        incrementaldecoder=ascii.incrementaldecoder,
    )
