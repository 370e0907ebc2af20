"""Heads of the catalogue, taught and asked as a run does it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tape_bench import load_model
from tape_bench.data.examples import load_task
from tape_bench.heads import pair_resnet, rows, solved
from tape_bench.heads.catalogue import HEADS
from tape_bench.heads.learning import learner


@pytest.fixture
def taught(monkeypatch):
    """Train a contact head, cut down to two blocks, on three proteins of each split."""
    monkeypatch.setattr(pair_resnet, "BLOCKS", 2)
    data = load_task("contact", data="sample", limit=3)
    sequences = [sequence for split in data.values() for sequence in split.sequences]
    known = dict(
        zip(sequences, load_model("onehot").embed(sequences, pool="residues"), strict=True)
    )

    def teach(name, epochs, **changes):
        entry = HEADS["residue_pair"][name]
        if entry.recipe is not None:
            entry = replace(entry, recipe=replace(entry.recipe, max_epochs=epochs, **changes))
        learned = learner("residue_pair", entry, data.card.targets[0], known)
        found = learned.learn(data["train"], data["valid"], seed=0)
        return learned, found, data

    return teach


@pytest.mark.parametrize("name", list(HEADS["residue_pair"]))
def test_contact_heads_learn_and_answer_every_pair(name, taught):
    learned, (selected, history), data = taught(name, epochs=3)
    if name == "linear":
        assert selected["gradient"] <= HEADS["residue_pair"]["linear"].solver.tolerance
    else:
        assert 1 <= selected["epoch"] <= 3
    assert np.isfinite(history).all()
    probabilities = learned.predict(data["test"])
    pairs = sum((n - 6) * (n - 5) // 2 for n in map(len, data["test"].sequences))
    assert probabilities.shape == (pairs,)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize("name", ["fork", "fork_as_published"])
def test_only_as_published_do_scores_depend_on_the_batch(name, taught):
    learned, _, data = taught(name, epochs=5, batch=3)
    together = learned.predict(data["test"])
    learned.recipe = replace(learned.recipe, batch=1)
    alone = learned.predict(data["test"])
    assert len(set(map(len, data["test"].sequences))) > 1
    if name == "fork":
        np.testing.assert_allclose(together, alone, atol=1e-5)
    else:
        assert np.abs(together - alone).max() > 1e-4


def represented(task, limit, pool):
    data = load_task(task, data="sample", limit=limit)
    sequences = [sequence for split in data.values() for sequence in split.sequences]
    vectors = load_model("onehot").embed(sequences, pool=pool)
    return data, dict(zip(sequences, vectors, strict=True))


@pytest.mark.parametrize("head", ["linear", "window"])
def test_vectors_read_from_the_disk_each_time_give_the_same_head(head, monkeypatch):
    data, known = represented("secondary_structure", 30, "residues")
    entry = HEADS["token_class"][head]

    def predicted():
        learned = learner("token_class", entry, data.card.targets[0], known)
        selected, _ = learned.learn(data["train"], data["valid"], seed=0)
        return selected, learned.predict(data["cb513"])

    kept, expected = predicted()
    monkeypatch.setattr(rows, "MEMORY_LIMIT", 100_000)
    monkeypatch.setattr(solved, "SAMPLE_BYTES", 100_000)
    streamed, found = predicted()
    assert streamed["penalty"] == kept["penalty"]
    assert streamed["evaluations"] <= solved.MOST_PASSES
    assert streamed["valid_loss"] == pytest.approx(kept["valid_loss"], rel=1e-3)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.99


def test_a_class_that_train_lacks_is_ranked_last():
    data, known = represented("remote_homology", 40, "mean")
    target = data.card.targets[0]
    learned = learner("sequence_class", HEADS["sequence_class"]["linear"], target, known)
    learned.learn(data["train"], data["valid"], seed=0)
    found = learned.predict(data[data.card.headline])
    seen = np.unique([example.targets[target.name] for example in data["train"]])
    unseen = np.setdiff1d(np.arange(target.classes), seen)
    assert unseen.size
    assert (found[:, seen].min(axis=1) > found[:, unseen].max(axis=1)).all()
    assert np.isfinite(found).all()
