"""Several processes: those that share a network of the hub's come to what one comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hub_models
import numpy as np
import pytest

from tape_bench import evaluate
from tape_bench.errors import TasksFailedError

TRIAL: dict[str, Any] = {"data": "sample", "limit": 40, "model_options": {"device": "cpu"}}


@pytest.mark.parametrize(
    ("family", "shared"),
    [("esm2", {"tensor_parallel": 2}), ("protbert", {"tensor_parallel": 2}),
     ("prott5", {"devices": 2})],
)  # fmt: skip
def test_processes_score_as_one_does(family: str, shared: dict[str, int], tmp_path: Path):
    spec = f"hf:{hub_models.make(family, tmp_path / family)}"
    (one,) = evaluate(spec, "stability", out=tmp_path / "one", **TRIAL)
    (two,) = evaluate(spec, "stability", out=tmp_path / "two", **shared, **TRIAL)
    assert (one.status, two.status) == ("complete", "complete")
    for first, second in zip(one.metrics, two.metrics, strict=True):
        assert first.id == second.id
        np.testing.assert_allclose(first.value, second.value, atol=1e-3)


def test_a_model_that_transformers_computes_is_not_shared(tmp_path: Path):
    spec = f"hf:{hub_models.make('prott5', tmp_path / 'prott5')}"
    with pytest.raises(TasksFailedError, match="--tensor-parallel needs"):
        evaluate(spec, "stability", out=tmp_path / "out", tensor_parallel=2, **TRIAL)
