"""Changed files and disturbed commands: tests/fuzz and tests/chaos in small, with a new seed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

FALLING = """
import os, sys, time
sys.path.insert(0, "tests/fuzz")
sys.argv = ["fuzz", "--inputs", "14", "--seed", "1"]
import of_data, of_models, of_own, of_vectors, outcomes

def foreign(folder): raise KeyError("foreign")
def wrong(folder): raise outcomes.WrongError("another answer")
def memory(folder): held = b"x" * (3 << 29); time.sleep(20)
def died(folder): os.kill(os.getpid(), 11)
def hang(folder): time.sleep(20)
def right(folder): return "right"

of_models.TARGETS.clear(); of_own.TARGETS.clear(); of_data.TARGETS.clear()
of_vectors.TARGETS.clear()
for use in (foreign, wrong, memory, died, hang, right):
    of_data.TARGETS[use.__name__] = outcomes.Target(lambda folder: None, lambda f, r: None, use)
program = open("tests/fuzz/__main__.py").read().replace("SECONDS = 20.0", "SECONDS = 6.0")
exec(compile(program, "fuzz", "exec"), {"__name__": "__main__", "__doc__": "x"})
"""
"""The fuzzer, set upon targets that end as nothing may."""


def run(*command: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=HERE.parent
    )
    print(done.stdout)  # the seed among it
    assert done.returncode == code, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_thousand_changed_files() -> None:
    said = run("tests/fuzz", "--inputs", "3000")
    assert "3000 inputs in" in said
    assert said.rstrip().endswith(" 0 bad")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_disturbed_commands() -> None:
    said = run("tests/chaos", "--kills", "12")
    assert said.rstrip().endswith(" 0 faults")


@pytest.mark.slow
def test_what_must_not_be_is_seen_by_the_fuzzer() -> None:
    said = run("-c", FALLING, code=1)
    table = re.findall(r"^(\w+) +(\d+)  (\w+) (\d+)$", said, re.MULTILINE)
    assert len(table) == 6
    for name, count, outcome, times in table:
        assert (name, count) == (outcome, times)
        assert name == "right" or f"({name}): {name}" in said
