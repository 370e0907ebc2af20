"""The heads of ProteinLM's two code bases for residues and whole proteins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from tape_bench import evaluate
from tape_bench.heads.catalogue import HEADS
from tape_bench.heads.mlp import SequenceMLP, fork
from tape_bench.heads.tanh import TanhMLP

TRIAL: dict[str, Any] = {"data": "sample", "limit": 60, "seeds": (0,)}


def test_the_forks_head_has_1024_units():
    head = fork(32, 7)
    assert isinstance(head, SequenceMLP)
    first, second = (layer.weight for layer in head.main.values())
    assert (first.shape, second.shape) == ((1024, 32), (7, 1024))
    # One scalar length a layer, as weight_norm with dim=None has.
    lengths = [p for name, p in head.named_parameters() if name.endswith("original0")]
    assert [length.numel() for length in lengths] == [1, 1]


def test_megatrons_head_by_hand():
    head = TanhMLP(4, 3).eval()
    assert abs(float(head.dense.weight.detach().std()) - 0.02) < 0.015
    with torch.no_grad():
        for weight in head.parameters():
            weight.normal_()
    x = torch.randn(5, 4)
    w, b, v, c = (weight.detach().numpy() for weight in head.parameters())
    expected = np.tanh(x.numpy() @ w.T + b) @ v.T + c
    np.testing.assert_allclose(head(x).detach().numpy(), expected, atol=1e-5)


def test_a_tenth_of_its_units_is_dropped_in_training_only():
    torch.manual_seed(0)
    head = TanhMLP(512, 1)
    with torch.no_grad():
        head.dense.bias.fill_(9)  # tanh is 1
        head.dense.weight.zero_()
        head.scores.weight.fill_(1 / 512)
    x = torch.zeros(400, 512)
    drawn = head.train()(x).detach()
    assert abs(float(drawn.mean()) - 1) < 0.01
    assert float(drawn.std()) == pytest.approx((0.1 / 0.9 / 512) ** 0.5, rel=0.2)
    assert float(head.eval()(x).detach().std()) < 1e-6


@pytest.mark.parametrize(
    ("task", "head"),
    [("stability", "fork"), ("stability", "megatron"), ("remote_homology", "fork"),
     ("secondary_structure", "megatron")],
)  # fmt: skip
def test_they_run_by_name(task: str, head: str, tmp_path):
    (record,) = evaluate("onehot", task, head=head, out=tmp_path, **TRIAL)
    assert record.status == "complete"
    assert record.protocol.resolved["head"] == head


def test_they_stand_beside_tapes():
    assert {"fork", "megatron"} <= HEADS["sequence_value"].keys() & HEADS["sequence_class"].keys()
    assert "megatron" in HEADS["token_class"]
