"""A plain run record to change in tests."""

from __future__ import annotations

from typing import Any

import pytest

from tape_bench.results.record import RunRecord

CONTENT: dict[str, Any] = {
    "run_key": "ab" * 32,
    "status": "complete",
    "task": {
        "id": "stability",
        "version": "1",
        "kind": "sequence_value",
        "card_digest": "cd" * 32,
        "headline": "test",
        "primary": "stability_score.spearman",
        "data": {
            "source": "stability.tar.gz",
            "status": "official",
            "reason": "md5",
            "digest": "ef" * 32,
            "splits": {"test": {"digest": "01" * 32, "n_total": 10, "n_scored": 10}},
        },
    },
    "model": {
        "spec": "onehot",
        "name": "onehot",
        "revision": "1",
        "weights_digest": None,
        "parameters": 0,
        "hidden_size": 25,
        "longest_input": None,
        "dtype": "float32",
        "layer": None,
        "reading": {},
        "pretraining": [],
        "control": True,
    },
    "protocol": {"id": "probe", "version": "1", "given": {}, "resolved": {}, "seeds": [0]},
    "metrics": [
        {
            "id": "stability_score.spearman",
            "label": "Spearman",
            "split": "test",
            "value": 0.5,
            "per_seed": [0.5],
            "n": 10,
            "higher_is_better": True,
            "primary": True,
        }
    ],
    "provenance": {
        "package_version": "0.1.0",
        "git_commit": None,
        "git_dirty": None,
        "command": ["tape-bench", "run"],
        "python": "3.11.7",
        "packages": {},
        "devices": ["CPU"],
        "world": 1,
        "started": "2026-01-01T00:00:00+00:00",
    },
}


@pytest.fixture
def record() -> RunRecord:
    return RunRecord.model_validate(CONTENT)
