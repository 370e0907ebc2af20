"""Processes that run one command together: one record, one message, and none left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow
RUN = ["-m", "tape_bench.cli", "run"]
WHAT = ["--data", "sample", "-t", "stability", "--limit", "40"]


@dataclass
class Ended:
    code: int
    out: str
    err: str


class Started:
    """Ranks as torchrun would start them, by hand."""

    def __init__(self, folder: Path) -> None:
        self.processes: list[subprocess.Popen[str]] = []
        self.folder = folder

    def __call__(self, *commands: list[str]) -> list[subprocess.Popen[str]]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        size = str(len(commands))
        for rank, command in enumerate(commands):
            launched = {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size,
                "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
            }  # fmt: skip
            self.start(command, launched if len(commands) > 1 else {})
        return self.processes

    def start(self, command: list[str], launched: dict[str, str]) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **launched}
        process = subprocess.Popen(
            [sys.executable, *command],
            env=environment,
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return process

    def ends(self) -> list[Ended]:
        told = [process.communicate(timeout=200) for process in self.processes]
        codes = [process.returncode for process in self.processes]
        self.processes = []
        return [Ended(code, *both) for code, both in zip(codes, told, strict=True)]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    for process in started.processes:
        process.kill()
        process.wait()


def record(folder: Path) -> dict[str, Any]:
    [path] = folder.rglob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_all_ways_of_computing_leave_one_record(
    start: Started, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = {"alone": [[]], "devices": [["--devices", "2"]], "ranks": [[], []]}
    for way, extra in ways.items():
        monkeypatch.setenv("TAPE_BENCH_CACHE", str(tmp_path / way / "cache"))
        out = ["--out", str(tmp_path / way / "out"), "--quiet"]
        start(*([*RUN, f"proteinlm:{checkpoint}", *WHAT, *out, *more] for more in extra))
        assert [(end.code, end.err) for end in start.ends()] == [(0, "")] * len(extra)
    alone, *others = (record(tmp_path / way / "out") for way in ways)
    for other in others:
        # Batches differ, and with them the last digits of float32.
        assert other["run_key"] == alone["run_key"]
        for mine, theirs in zip(other["metrics"], alone["metrics"], strict=True):
            assert mine["value"] == pytest.approx(theirs["value"], abs=1e-4)
        # Starting a process takes seconds, and computing a twentieth of one: within tenfold.
        rates = [each["resources"]["residues_per_second"] for each in (other, alone)]
        assert rates[0] > rates[1] / 10


def test_an_error_of_all_is_told_by_one(start: Started) -> None:
    start(*[[*RUN, "proteinlm:nowhere", *WHAT]] * 2)
    ends = start.ends()
    assert [end.code for end in ends] == [2, 2]
    told = [line for end in ends for line in end.err.splitlines()]
    assert len(told) == 3
    assert told[0] == "error: there is no such checkpoint"


def test_an_error_of_one_is_told_by_it(start: Started, checkpoint: Path) -> None:
    start([*RUN, f"proteinlm:{checkpoint}", *WHAT], [*RUN, "proteinlm:nowhere", *WHAT])
    ends = start.ends()
    assert [end.code for end in ends] == [2, 2]
    assert [end.err.count("error: ") for end in ends] == [0, 1]
    assert ends[1].err.splitlines()[0] == "error: there is no such checkpoint"


def wait_for(what: Callable[[], Any], seconds: float) -> Any:
    until = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def test_a_rank_that_waits_for_others_heeds_sigterm(start: Started) -> None:
    first, _ = start([*RUN, "onehot", *WHAT], ["-c", "import time; time.sleep(60)"])
    listening = lambda: psutil.Process(first.pid).net_connections()  # noqa: E731
    assert wait_for(listening, 60)
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=20)
    assert first.returncode == 143
    assert "nothing is half-written" in err


def test_ranks_end_with_their_launcher(start: Started, checkpoint: Path) -> None:
    script = f"""
from tape_bench.embedding.executors.session import assemble
from tape_bench.embedding.embeddings import Request, open_embeddings

if __name__ == "__main__":
    long = tuple("ACDEFGHIKLMNPQRSTVWY"[n % 20] * 3 + "AC" * (n % 250) for n in range(100_000))
    session = assemble("proteinlm:{checkpoint}", {{}}, devices=2)
    with open_embeddings(session, "float32") as embeddings:
        embeddings.fill([Request(long, "residues")])
"""
    launcher = start.start(["-c", script], {})
    ranks = lambda: psutil.Process(launcher.pid).children()  # noqa: E731
    # They are in the middle of it.
    cache = Path(os.environ["TAPE_BENCH_CACHE"])
    assert wait_for(lambda: len(list(cache.rglob("*.vectors"))) == 2, 100)
    started = ranks()
    assert len(started) == 2
    launcher.kill()
    launcher.wait()
    _, alive = psutil.wait_procs(started, timeout=2)
    assert not alive
