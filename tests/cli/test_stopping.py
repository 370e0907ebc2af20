"""Ctrl-C and SIGTERM end the program with one sentence, and the exit codes that shells expect."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tape_bench import cli
from tape_bench.cli import stopping


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stopping, "_received", [])
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_program(monkeypatch, capsys, number, code):
    def work(**_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr(cli.program, "main", work)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == code
    assert capsys.readouterr().err.count("nothing is half-written") == 1


def test_of_several_processes_one_tells_of_it(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")

    def work(**_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(cli.program, "main", work)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 143
    assert capsys.readouterr().err == ""


def test_the_second_of_two_signals_disturbs_nothing(monkeypatch, capsys):
    def work(**_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    def echo(text: str, err: bool) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        print(text)

    monkeypatch.setattr(cli.program, "main", work)
    monkeypatch.setattr(cli.click, "echo", echo)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 143
    assert capsys.readouterr().out.count("nothing is half-written") == 1
