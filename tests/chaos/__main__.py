"""Commands killed at any moment, on full disks, with peers that go: nothing is lost or left.

    python tests/chaos --kills 100 [--seed 1] [--only WORD]

Each command is run once in peace. Then it is disturbed again and again in a place of its own, and
at last repeated in peace: what stands there must be the same, byte for byte but for times, with no
temporary file, no work folder and no process left. What a disturbed command says is one error of
ours, never a traceback.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import psutil
import scenarios
from scenarios import SCENARIOS, Scenario, outcome

MARK = "TAPE_BENCH_CHAOS"
"""A variable by which the processes of a scenario are known."""

SHARES = {"run": 30, "run --devices 2": 20, "convert": 15, "embed": 15, "fetch": 12, "check": 8}
"""Kills in a hundred."""

ORPHANS = 10.0
"""Seconds after which nothing of a killed command may be left."""

FULL = 6
"""Commands a scenario runs on a disk that fills up."""


class FaultError(AssertionError):
    """Something that must not be."""


def environment(place: Path, mark: str, **more: str) -> dict[str, str]:
    for name in ("tmp", "home"):
        (place / name).mkdir(parents=True, exist_ok=True)
    own = {"TAPE_BENCH_CACHE": place / "cache", "TMPDIR": place / "tmp", "HOME": place / "home"}
    paths = {name: str(path) for name, path in own.items()}
    return {**os.environ, **paths, "OMP_NUM_THREADS": "1", MARK: mark, **more}


def peaceful(scenario: Scenario, place: Path, given: Path, mark: str) -> float:
    """Run a command to its end, and return the seconds it took."""
    started = time.monotonic()
    done = subprocess.run(
        scenario.command(place, given), env=environment(place, mark), capture_output=True, text=True
    )
    if done.returncode:
        raise FaultError(f"exit code {done.returncode}: {done.stderr[-1500:]}")
    return time.monotonic() - started


def left_behind(scenario: Scenario, place: Path) -> list[str]:
    """Name what stands there that a command in peace does not leave."""
    made = {*scenario.made, "cache", "tmp", "home"}
    odd = [path.name for path in place.iterdir() if path.name not in made]
    # torch makes a folder for kernels whether it compiles any or not.
    temporary = (path.name for path in (place / "tmp").iterdir())
    odd += [f"tmp/{name}" for name in temporary if not name.startswith("torchinductor")]
    odd += [
        path.relative_to(place).as_posix()
        for path in place.rglob("*")
        if path.name.endswith((".work", ".begun", ".unfinished"))
        or (path.name.startswith(".") and path.parent.name not in ("tmp", "home"))
    ]
    return sorted({name for name in odd if not name.startswith("home/")})


def living(mark: str) -> list[psutil.Process]:
    """Return the processes of a scenario that are still there."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def expect_nobody(mark: str) -> None:
    until = time.monotonic() + ORPHANS
    while there := living(mark):
        if time.monotonic() > until:
            told = [" ".join(process.cmdline()[:4]) for process in there]
            for process in there:
                process.kill()
            raise FaultError(f"left running: {told}")
        time.sleep(0.1)


def kill_once(scenario: Scenario, place: Path, given: Path, mark: str, after: float) -> bool:
    """Start a command and kill it; tell whether it was still there to be killed."""
    process = subprocess.Popen(
        scenario.command(place, given), env=environment(place, mark),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
    _, told = process.communicate()
    if "Traceback (most recent" in told:
        raise FaultError(told[-1500:])
    expect_nobody(mark)
    return process.returncode == -signal.SIGKILL


def full_disk(scenario: Scenario, place: Path, given: Path, mark: str, room: int) -> None:
    """Run a command that can write no file beyond a size, as on a disk that fills up."""
    done = subprocess.run(
        scenario.command(place, given), env=environment(place, mark),
        capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )  # fmt: skip
    if "Traceback (most recent" in done.stderr or done.returncode not in (0, 2):
        raise FaultError(f"room {room}: exit code {done.returncode}: {done.stderr[-1500:]}")


def lost_peer(place: Path, given: Path, mark: str, after: float, which: int) -> bool:
    """Start two processes as a launcher does and kill one, the holder of the store or the other.

    Returns:
        Whether they had met. For one that never came the other waits minutes, and says for whom:
        then it is killed, too.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    told = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
    }
    both = [
        subprocess.Popen(
            SCENARIOS["run"].command(place, given),
            env=environment(place, mark, **told, RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    time.sleep(after)
    both[which].kill()
    try:
        _, said = both[1 - which].communicate(timeout=60)
    except subprocess.TimeoutExpired:
        both[1 - which].kill()
        _, said = both[1 - which].communicate()
        # At a place: where all meet. Whoever waits for results says no place.
        if f"waiting for process {which} of 2 (counted from 0) at " not in said:
            raise FaultError(f"waits for a process that is gone: {said[-1500:]}") from None
        met = False
    else:
        met = True
    both[which].communicate()
    ended = (0, 2) if met else (-signal.SIGKILL,)
    if "Traceback (most recent" in said or both[1 - which].returncode not in ended:
        raise FaultError(f"exit code {both[1 - which].returncode}: {said[-1500:]}")
    expect_nobody(mark)
    return met


def disturbed(name: str, work: Path, given: Path, rng: random.Random, kills: int) -> str:
    """Disturb one command as often as is asked; say what was done."""
    scenario, mark = SCENARIOS[name], uuid.uuid4().hex
    slug = name.replace(" ", "-")
    calm, rough, full = (work / f"{slug}-{how}" for how in ("calm", "rough", "full"))
    peaceful(scenario, calm, given, mark)
    shutil.rmtree(calm)
    seconds = peaceful(scenario, calm, given, mark)
    expected = outcome(calm)
    if odd := left_behind(scenario, calm):
        raise FaultError(f"left in peace: {odd}")
    killed = rounds = 0
    while killed < kills:
        # Once it is complete, it is begun anew: there is nothing more to disturb.
        killed += kill_once(scenario, rough, given, mark, rng.uniform(0.3, 1.05) * seconds)
        rounds += 1
        if killed % 5 == 0 or killed == kills or rounds > 5 * kills or _complete(scenario, rough):
            _same(name, scenario, rough, given, mark, expected)
            shutil.rmtree(rough)
    for _ in range(FULL):
        full_disk(scenario, full, given, mark, int(10 ** rng.uniform(2.5, 6.5)))
        if _complete(scenario, full):
            break
    _same(name, scenario, full, given, mark, expected)
    return f"{killed} kills of {rounds} commands, the disk full up to {FULL} times: the same files"


def _complete(scenario: Scenario, place: Path) -> bool:
    return all((place / name).exists() for name in scenario.made) and scenario.made[0] != "results"


def _same(
    name: str, scenario: Scenario, place: Path, given: Path, mark: str, expected: dict[str, str]
) -> None:
    if not (name in ("convert", "embed") and _complete(scenario, place)):
        peaceful(scenario, place, given, mark)
    found = outcome(place)
    if found != expected:
        odd = {n for n in found.keys() | expected.keys() if found.get(n) != expected.get(n)}
        raise FaultError(f"not the same: {sorted(odd)}")
    environment(place, mark)
    if odd := left_behind(scenario, place):
        raise FaultError(f"left behind: {odd}")


def peers(work: Path, given: Path, rng: random.Random, times: int) -> str:
    """Let one of two processes of a run go, again and again."""
    scenario, mark = SCENARIOS["run"], uuid.uuid4().hex
    calm, rough = work / "peers-calm", work / "peers-rough"
    seconds = peaceful(scenario, calm, given, mark)
    lost = tries = 0
    while lost < times:
        # On a busy machine one may be killed before it has come to the other.
        if tries > 3 * times:
            raise FaultError(f"{tries - lost} of {tries} were killed before they had met")
        lost += lost_peer(rough, given, mark, rng.uniform(0.5, 1.2) * seconds, lost % 2)
        tries += 1
    _same("run", scenario, rough, given, mark, outcome(calm))
    return f"{times} peers lost, the holder of the store among them: the same records"


def main() -> int:
    """Disturb every command, and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", default="", help="commands whose names hold this")
    given_ = parser.parse_args()
    print(f"seed {given_.seed}, {given_.kills} kills", flush=True)
    rng, bad = random.Random(given_.seed), 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        work = Path(name)
        given = work / "given"
        given.mkdir()
        os.environ["TAPE_BENCH_CACHE"] = str(work / "cache")
        scenarios.prepare(given)
        kills = {each: max(1, round(SHARES[each] * given_.kills / 100)) for each in SCENARIOS}
        jobs = {
            each: lambda each=each: disturbed(each, work, given, rng, kills[each])
            for each in SCENARIOS
        }
        jobs["lost peers"] = lambda: peers(work, given, rng, max(2, given_.kills // 20))
        for each, job in jobs.items():
            if given_.only in each:
                started = time.monotonic()
                try:
                    told = job()
                except FaultError as fault:
                    bad, told = bad + 1, f"FAULT: {fault}"
                print(f"{each:16} {time.monotonic() - started:5.0f} s  {told}", flush=True)
    print(f"seed {given_.seed}: {bad} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
