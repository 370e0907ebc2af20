"""What embedding took: what is counted, and what is left out."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tape_bench.models.controls.untrained import RandomWeights, load
from tape_bench.models.embedder import Identity, Packed
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.speed import measure as module
from tape_bench.speed.measure import MOST, enough_for, measure, warm_up


@pytest.fixture
def model(tmp_path: Path):
    config = ProteinLMConfig(
        layers=2, hidden=32, heads=2, positions=100, layernorm_eps=1e-12, gelu="tanh"
    )
    convert(RandomWeights(config, 0), tmp_path / "Tiny")
    return load(str(tmp_path / "Tiny" / "config.json"), device="cpu")


class Steady:
    """Takes a hundredth of a second for each protein, on a clock of its own."""

    identity = Identity("steady", "steady", "1", None, 0, 1, None, ())

    def __init__(self) -> None:
        self.now = 0.0

    def embed(self, sequences, pool="residues"):
        self.now += 0.01 * len(sequences)
        return [np.zeros(1, np.float32) for _ in sequences]


class Ceiling:
    """Sees a product of a billion operations a second, in no time."""

    seconds, flops_per_second = 0.0, 1e9

    def __init__(self, *_) -> None:
        self.take = list


@pytest.fixture
def steady(monkeypatch) -> Steady:
    model = Steady()
    monkeypatch.setattr(module.time, "perf_counter", lambda: model.now)
    return model


def draw(count: int) -> list[str]:
    return [f"{number:020b}".replace("0", "A").replace("1", "C") for number in range(count)]


def test_a_network(model, monkeypatch) -> None:
    monkeypatch.setattr(module, "MatmulRate", Ceiling)
    heard = []
    speed = measure(model, ["MKV", "ACDEF", "MKV"], lambda *done: heard.append(done))
    assert (speed.proteins, speed.residues) == (2, 8)
    assert (speed.launches, speed.launched_tokens, speed.padding) == (1, 8 + 2, 0)
    assert heard == [(8, 8)]
    # Two layers, 32 wide: 12 * 32 * 32 weights for each residue, 4 * 32 for each pair of them.
    useful = 2 * (2 * 12 * 32 * 32 * 8 + 4 * 32 * (3 * 3 + 5 * 5))
    assert speed.useful_flops_per_second * speed.seconds == pytest.approx(useful)
    assert speed.share_of_matmul == pytest.approx(useful / speed.seconds / 1e9)
    assert speed.gpu_bytes is None


def test_timing_products_does_not_count(model, monkeypatch) -> None:
    class Slow(Ceiling):
        def take(self) -> None:
            time.sleep(0.5)
            self.seconds += 0.5

        def __init__(self, *_) -> None:
            pass

    monkeypatch.setattr(module, "MatmulRate", Slow)
    assert 0 < measure(model, ["MKV", "ACDEF"]).seconds < 0.4


def test_padding_counts(model, monkeypatch) -> None:
    monkeypatch.setattr(module, "MatmulRate", Ceiling)

    def wasteful(sequences, pools):
        return lambda: Packed({"mean": [np.zeros(32, np.float32) for _ in sequences]}, tokens=30)

    monkeypatch.setattr(model, "queue_packed", wasteful)
    speed = measure(model, ["MKV", "ACDEF"])
    assert speed.padding == pytest.approx(1 - 10 / 30)


def test_a_model_that_is_no_network(steady) -> None:
    speed = measure(steady, draw(30))
    assert speed.seconds == pytest.approx(0.3)
    assert speed.residues_per_second == pytest.approx(30 * 20 / 0.3)
    assert speed.share_of_matmul is None
    assert speed.as_dict()["residues_per_second"] == speed.residues_per_second
    assert speed.as_dict()["padding"] is None


@pytest.mark.parametrize(("seconds", "count"), [(0.5, 50), (20, 2000), (0.01, 8), (1e9, MOST)])
def test_enough(steady, seconds: float, count: int) -> None:
    assert enough_for(seconds, steady, draw) == count


def test_warming_up(steady) -> None:
    warm_up(steady, draw)
    assert steady.now == pytest.approx(0.08)
