"""Heads learn where the representations are computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tape_bench import evaluate
from tape_bench.data.examples import load_task
from tape_bench.heads.catalogue import HEADS
from tape_bench.heads.learning import learner
from tape_bench.models.controls.onehot import OneHot
from tape_bench.models.controls.onehot import load as load_onehot
from tape_bench.models.embedder import Network
from tape_bench.protocols.probe import train as module


class Elsewhere(OneHot):
    def describe(self) -> Network:
        return Network(1, 20, 20, "float32", "meta")


def test_they_are_told_where_the_model_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    told: list[torch.device] = []

    def spying(*given):
        told.append(given[-1])
        return learner(*given[:-1])

    monkeypatch.setattr(module, "learner", spying)
    onehot = load_onehot(None)
    for model in (Elsewhere(onehot.identity), onehot):
        out = tmp_path / type(model).__name__
        evaluate(model, "fluorescence", data="sample", limit=30, out=out)
    assert told == [torch.device("meta"), torch.device("cpu")]


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("task", "head"),
    [
        ("secondary_structure", "linear"),
        ("secondary_structure", "tape"),
        ("remote_homology", "linear"),
        ("contact", "linear"),
        ("contact", "tape"),
    ],
)
def test_a_gpu_learns_what_a_cpu_learns(task: str, head: str):
    data = load_task(task, data="sample", limit=20)
    entry, target = HEADS[data.card.kind][head], data.card.targets[0]
    if entry.recipe is not None:
        entry = replace(entry, recipe=replace(entry.recipe, max_epochs=2))
    random = np.random.default_rng(0)
    known = {
        sequence: random.normal(size=(len(sequence), 16)).astype(np.float32)
        for split in data.values()
        for sequence in split.sequences
    }
    if data.card.kind == "sequence_class":
        known = {sequence: rows.mean(axis=0) for sequence, rows in known.items()}
    said = []
    for device in ("cpu", "cuda"):
        learned = learner(data.card.kind, entry, target, known, torch.device(device))
        learned.learn(data["train"], data["valid"], 0)
        said.append(learned.predict(data["valid"]))
    if entry.recipe is None:
        np.testing.assert_allclose(said[1], said[0], rtol=1e-2, atol=1e-2)
    # A trained head drops out other features on a GPU.
    assert said[0].shape == said[1].shape
    assert np.isfinite(said[1]).all()
