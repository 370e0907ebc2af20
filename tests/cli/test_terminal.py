"""Every verb that shows progress, as it is seen on a terminal, in a log, and in odd encodings.

A pseudo-terminal takes the place of the three standard streams of this process, so that a case
costs no start of a program.
"""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import sys
import tarfile
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.cells import cell_len

from tape_bench.cli import main
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.speed import cache_rates, machine

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3\d|9\d)(?:;\d+)*m")


@dataclass(frozen=True)
class Terminal:
    columns: int = 80
    rows: int = 24
    name: str = "xterm-256color"
    variables: tuple[tuple[str, str], ...] = ()
    encoding: str = "utf-8"


WIDE, NARROW = Terminal(), Terminal(columns=60)
PLAIN = Terminal(variables=(("NO_COLOR", "1"),))
DUMB = Terminal(name="dumb")
ASCII = Terminal(encoding="ascii")
TERMINALS = {"80": WIDE, "60": NARROW, "NO_COLOR": PLAIN, "dumb": DUMB, "ascii": ASCII}


@contextmanager
def standing_in_for_the_terminal(terminal: Terminal) -> Iterator[list[bytes]]:
    """Put a pseudo-terminal under the standard streams; what is written to it is collected."""
    master, slave = pty.openpty()
    size = struct.pack("HHHH", terminal.rows, terminal.columns, 0, 0)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    written: list[bytes] = []
    reader = threading.Thread(target=_read_all, args=(master, written))
    reader.start()
    kept = [os.dup(stream) for stream in range(3)]
    streams = sys.stdout, sys.stderr
    for stream in range(3):
        os.dup2(slave, stream)
    os.close(slave)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(
            io.FileIO(stream, "w", closefd=False), terminal.encoding, write_through=True
        )
        for stream in (1, 2)
    )
    try:
        yield written
    finally:
        sys.stdout, sys.stderr = streams
        for stream, original in enumerate(kept):
            os.dup2(original, stream)
            os.close(original)
        # Nobody writes any more: the reader comes to an end.
        reader.join()
        os.close(master)


def _read_all(master: int, written: list[bytes]) -> None:
    while True:
        try:
            written.append(os.read(master, 1 << 16))
        except OSError:
            return


@dataclass
class Seen:
    """What a terminal was sent."""

    code: object
    raw: str
    terminal: Terminal

    @property
    def lines(self) -> list[str]:
        """What stood on a line at one time or another, without colours."""
        text = self.raw.replace("\r\x1b[2K", "\n").replace("\x1b[1A\x1b[2K", "\n")
        return [line.rstrip() for line in re.split(r"[\r\n]+", CONTROL.sub("", text))]


Run = Callable[..., Seen]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    # What the machine itself can do is measured elsewhere.
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(cache_rates, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(machine, "_SECONDS", 0.0)

    def run(terminal: Terminal, *arguments: object) -> Seen:
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", terminal.name)
        for name, value in terminal.variables:
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["tape-bench", *map(str, arguments)])
        with standing_in_for_the_terminal(terminal) as written, pytest.raises(SystemExit) as end:
            main()
        return Seen(end.value.code, b"".join(written).decode(terminal.encoding), terminal)

    return run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "Tiny"
    config = ProteinLMConfig(2, 32, 2, 100, layernorm_eps=1e-12, gelu="tanh")
    convert(RandomWeights(config, 0), folder)
    return folder


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "proteins.fasta"
    path.write_text("".join(f">{n}\n{'MKV' * (n + 1)}\n" for n in range(12)))
    return path


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "stability"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        records = [
            {"id": str(n), "primary": "MKV" * (n + 1), "stability_score": [n / 7]} for n in range(5)
        ]
        (folder / f"stability_{split}.json").write_text(json.dumps(records))
    (tmp_path / "mirror").mkdir()
    with tarfile.open(tmp_path / "mirror" / "stability.tar.gz", "w:gz") as archive:
        archive.add(folder, "stability")
    handler = partial(QuietHandler, directory=str(tmp_path / "mirror"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


QUICK = ("-t", "stability", "--data", "sample", "--limit", 30, "--head", "tape")


@pytest.fixture
def command(tiny: Path, fasta: Path, mirror: str, tmp_path: Path) -> dict[str, tuple[object, ...]]:
    """Every verb that shows progress, and how it is called."""
    network = f"proteinlm:{tiny}"
    return {
        "run": ("run", "onehot", *QUICK, "-t", "fluorescence", "--out", tmp_path / "out"),
        "embed": ("embed", network, fasta, "-o", tmp_path / "out.npz"),
        "perplexity": ("perplexity", network, fasta),
        "bench": ("bench", network, "--device", "cpu", "--proteins", 5),
        "convert": ("convert", tiny, tmp_path / "again", "--check", fasta),
        "fetch": ("data", "fetch", "stability", "--mirror", mirror, "--data", tmp_path / "data"),
    }


SHOWS = {
    "run": "train, seed 0",
    "embed": "embed",
    "perplexity": "guess",
    "bench": "warm up",
    "convert": "guess",
    "fetch": "download",
}


@pytest.mark.parametrize("name", TERMINALS)
@pytest.mark.parametrize("verb", SHOWS)
def test_progress_on_a_terminal(run: Run, command, verb: str, name: str):
    terminal = TERMINALS[name]
    seen = run(terminal, *command[verb])
    assert seen.code == 0, seen.raw
    assert "Traceback" not in seen.raw
    assert SHOWS[verb] in CONTROL.sub("", seen.raw)
    if name == "dumb":
        assert "\x1b" not in seen.raw
        assert "\r" not in seen.raw.replace("\r\n", "")
        return
    if name == "NO_COLOR":
        assert not COLOUR.search(seen.raw)
    # The cursor was hidden for the moving line, and is there again.
    assert seen.raw.count("\x1b[?25l") == seen.raw.count("\x1b[?25h") >= 1
    moving = [line for line in seen.lines if re.match(r"[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏|/\\-] \S", line)]
    assert max(map(cell_len, moving)) < terminal.columns


def test_what_a_run_tells(run: Run, command):
    seen = run(WIDE, *command["run"])
    text = " ".join(" ".join(seen.lines).split())
    assert re.search(
        r"2/2 fluorescence: train, seed 0: stopped early: best epoch \d+ of \d+, "
        r"at most 100",
        text,
    )
    assert re.search(r"1/2 stability.* \d+/100 epochs validation loss \d", text)
    assert "stability complete" in text


def test_a_pipe_gets_lines(capsys, monkeypatch, command):
    monkeypatch.setattr(sys, "argv", ["tape-bench", *map(str, command["run"])])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    assert re.search(
        r"^2/2 fluorescence: train, seed 0: \d+ epochs in \d+\.\d s, "
        r"validation loss [\d.]+, stopped early: best epoch \d+ of \d+, at most 100$",
        shown.err,
        re.MULTILINE,
    )


@pytest.mark.parametrize("verb", ["run", "bench"])
def test_what_a_model_prints_is_not_the_answer(capsys, monkeypatch, tmp_path, verb):
    (tmp_path / "talks.py").write_text(
        "import numpy as np\n"
        "from tape_bench.models.embedder import Identity\n"
        "print('importing')\n"
        "class Mine:\n"
        "    identity = Identity('x', 'mine', '1', None, 1, 1, None, None)\n"
        "    def embed(self, sequences, pool='residues'):\n"
        "        print('embedding')\n"
        "        rows = [np.ones((len(s), 1), np.float32) for s in sequences]\n"
        "        return rows if pool == 'residues' else [row.mean(0) for row in rows]\n"
    )
    monkeypatch.setattr(machine, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(cache_rates, "COPY_BYTES", 1 << 20)
    monkeypatch.setattr(machine, "_SECONDS", 0.0)
    further = (*QUICK, "--out", tmp_path / "out") if verb == "run" else ("--proteins", 2)
    model = f"python:{tmp_path / 'talks.py'}:Mine"
    monkeypatch.setattr(sys, "argv", ["tape-bench", verb, model, *map(str, further), "--json"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    shown = capsys.readouterr()
    json.loads(shown.out)
    assert "importing" in shown.err
    assert "embedding" in shown.err
