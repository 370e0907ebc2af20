"""A run that is killed at any moment, and repeated, ends as if nothing had happened."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm.config import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.results import store
from tape_bench.results.record import RunRecord

KILLS = 10


def command(place: Path, model: Path) -> list[str]:
    return [
        sys.executable, "-m", "tape_bench.cli", "run", f"proteinlm:{model}", "--data", "sample",
        "-t", "stability", "-t", "secondary_structure", "--out", str(place / "results"),
        "--limit", "200", "--tokens-per-batch", "256", "--quiet",
    ]  # fmt: skip


def environment(place: Path) -> dict[str, str]:
    return {**os.environ, "TAPE_BENCH_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}


def outcome(place: Path) -> dict[str, RunRecord]:
    """Return the records, without what says when and how long."""
    records = [store.read(path) for path in store.find(place / "results")]
    left_out = {"resources", "provenance", "digest"}
    return {r.task.id: r.model_dump(exclude=left_out) for r in records}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_change_nothing(tmp_path: Path):
    config = ProteinLMConfig(
        layers=8, hidden=256, heads=4, positions=700, layernorm_eps=1e-12, gelu="tanh"
    )
    model = tmp_path / "model"
    convert(RandomWeights(config, 0), model)
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    started = time.monotonic()
    subprocess.run(command(calm, model), env=environment(calm), check=True)
    seconds = time.monotonic() - started

    moments = random.Random(0)
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command(rough, model), env=environment(rough))
        try:
            process.wait(timeout=moments.uniform(0.0, 0.3) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += process.wait() < 0
    subprocess.run(command(rough, model), env=environment(rough), check=True)
    assert killed >= KILLS - 2, "the run ended too soon to be disturbed"
    assert outcome(rough) == outcome(calm)
    work = [path for path in (rough / "results").rglob("*") if path.name.endswith(".work")]
    assert work == []
