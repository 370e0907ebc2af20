"""An untrained network so small that it is trained in a second."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

SHAPE = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 2,
    "max_position_embeddings": 600,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu_new",
}


@pytest.fixture
def untrained(tmp_path: Path) -> str:
    """Its spec."""
    (tmp_path / "shape.json").write_text(json.dumps(SHAPE))
    return f"random:{tmp_path}/shape.json"
