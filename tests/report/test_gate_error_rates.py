"""The gate's promise: at the 95 % level, few false alarms, and real losses seen."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gate_error_rates.py"


@pytest.fixture(scope="module")
def alarms():
    spec = importlib.util.spec_from_file_location("gate_error_rates", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.alarms


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sequence_value", "token_class"])
@pytest.mark.parametrize("figures", [1, 5])
def test_false_alarms_are_rare(alarms, kind, figures):
    rate, _ = alarms(kind, loss=0.0, n=100, figures=figures, pairs=200, draws=1000)

    assert rate <= 0.05


@pytest.mark.parametrize("kind", ["sequence_value", "token_class"])
def test_a_real_loss_is_seen(alarms, kind):
    rate, drop = alarms(kind, loss=0.3, n=300, figures=1, pairs=5, draws=300)

    assert drop > 0.02
    assert rate == 1
