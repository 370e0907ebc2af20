"""The probe learns from train, selects on valid, and never looks at test."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from tape_bench.cards import TaskCard
from tape_bench.data.columns import build
from tape_bench.data.examples import Split
from tape_bench.data.records import check
from tape_bench.data.vocabulary import LETTERS
from tape_bench.embedding.in_memory import represent
from tape_bench.errors import UsageError
from tape_bench.models.controls import onehot, positional
from tape_bench.protocols.probe.plan import VERSION, Probe
from tape_bench.protocols.probe.train import train

SIZES = {"train": 40, "valid": 16, "test": 12, "other": 6}


def card(kind, classes=None):
    pool = "residues" if kind in ("token_class", "residue_pair") else "mean"
    split = {name: {"role": name, "records": size} for name, size in SIZES.items()}
    split["other"]["role"] = "test"
    return TaskCard.model_validate(
        {
            "name": "toy",
            "version": "1",
            "title": "Toy",
            "summary": "",
            "kind": kind,
            "head": "linear",
            "pool": pool,
            "headline": "test",
            "primary": "y.any",
            "targets": [
                {
                    "name": "y",
                    "field": "tertiary" if kind == "residue_pair" else "y",
                    "classes": classes,
                }
            ],
            "splits": split,
            "metrics": [{"id": "y.any", "label": "any"}],
            "length": {"policy": "error"},
            "source": {"folder": "toy", "licence": "none"},
        }
    )


CARDS = {
    "token_class": card("token_class", 3),
    "sequence_class": card("sequence_class", 3),
    "sequence_value": card("sequence_value"),
    "residue_pair": card("residue_pair"),
}


def target_of(kind, sequence, random):
    """What a one-hot can tell: hydrophobic or not, the commonest letter, a count of glycines."""
    if kind == "token_class":
        return [0 if letter in "AILMFVWY" else 1 if letter in "DEKR" else 2 for letter in sequence]
    if kind == "sequence_class":
        return int(np.argmax([sequence.count(letter) for letter in "ADG"]))
    if kind == "sequence_value":
        return 100.0 + 10.0 * sequence.count("G") / len(sequence)
    steps = random.normal(size=(len(sequence), 3))
    walk = 3.8 * (steps / np.linalg.norm(steps, axis=1, keepdims=True)).cumsum(axis=0)
    return walk.astype(np.float32)


def toy_splits(kind, seed=0):
    random = np.random.default_rng(seed)
    splits = {}
    for name, size in SIZES.items():
        records = []
        for number in range(size):
            length = int(random.integers(5, 16))
            sequence = "".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), length))
            field = CARDS[kind].targets[0].field
            raw = {"id": f"{name}-{number}", "primary": sequence}
            raw[field] = target_of(kind, sequence, random)
            if kind == "residue_pair":
                raw["valid_mask"] = np.arange(length) != 3
            records.append(check(raw, CARDS[kind], name))
        columns = build(records, kind, name)
        splits[name] = Split(name, CARDS[kind], columns, columns.digest, len(columns))
    return splits


def with_targets(split, change):
    """The split with its targets changed."""
    fields = {name: change(column) for name, column in split.columns.fields.items()}
    return replace(split, columns=replace(split.columns, fields=fields))


def run(kind, head=None, seed=0, splits=None, model=None, progress=None):
    splits = splits or toy_splits(kind)
    model = model or onehot.load()
    plan = Probe(head).plan(CARDS[kind], model.identity, None)
    # Few epochs: these tests ask what is done, not how well.
    if plan.entry.recipe:
        recipe = replace(plan.entry.recipe, max_epochs=4)
        plan = replace(plan, entry=replace(plan.entry, recipe=recipe))
    sequences = [s for split in splits.values() for s in split.sequences]
    with represent(model, sequences, plan.pool) as known:
        return train(plan, CARDS[kind].targets[0], splits, known, seed, progress)


ALL = [
    *[(kind, head) for kind in CARDS for head in ("linear", "tape")],
    ("token_class", "window"),
    ("sequence_value", "aligned_ridge"),
]


@pytest.mark.parametrize(("kind", "head"), ALL)
def test_every_example_of_valid_and_test_is_predicted_in_order(kind, head):
    splits = toy_splits(kind)
    trained = run(kind, head, splits=splits)
    assert set(trained.predictions) == {"valid", "test", "other"}
    for name, found in trained.predictions.items():
        assert list(found.ids) == splits[name].ids
        assert found.lengths.tolist() == [len(s) for s in splits[name].sequences]
        assert np.isfinite(found.values).all()
        assert found.values.dtype == np.float32
        known = [example.targets["y"] for example in splits[name]]
        if kind == "residue_pair":
            assert ((found.values >= 0) & (found.values <= 1)).all()
            # The fourth residue has no coordinates; neither do pairs closer than six exist.
            assert (found.targets == -1).sum() == sum(max(len(k) - 9, 0) for k in known)
        else:
            np.testing.assert_array_equal(found.targets, np.hstack(known))


@pytest.mark.parametrize(("kind", "head"), ALL)
def test_a_seed_decides_every_bit(kind, head):
    first = run(kind, head, seed=7)
    torch.rand(5)
    run("sequence_value", "tape", seed=2)
    second = run(kind, head, seed=7)
    assert first.selected == second.selected
    for name, found in first.predictions.items():
        np.testing.assert_array_equal(found.values, second.predictions[name].values)


@pytest.mark.parametrize(("kind", "head"), ALL)
def test_nothing_depends_on_the_targets_of_test(kind, head):
    splits = toy_splits(kind)
    spoilt = dict(splits)
    for name in ("test", "other"):
        spoilt[name] = with_targets(splits[name], lambda column: column[::-1].copy())
    honest, blind = run(kind, head, splits=splits), run(kind, head, splits=spoilt)
    assert honest.selected == blind.selected
    assert honest.history == blind.history
    for name, found in honest.predictions.items():
        np.testing.assert_array_equal(found.values, blind.predictions[name].values)


def test_the_choice_depends_on_the_targets_of_valid():
    splits = toy_splits("sequence_value")
    spoilt = splits | {"valid": with_targets(splits["valid"], lambda column: -column)}
    for head in ("linear", "tape", "aligned_ridge"):
        honest = run("sequence_value", head, splits=splits)
        assert run("sequence_value", head, splits=spoilt).selected != honest.selected


def test_values_come_back_in_their_own_unit():
    found = run("sequence_value", "tape").predictions["test"]
    assert 100 < found.values.mean() < 102


@pytest.mark.parametrize("kind", CARDS)
def test_a_missing_test_split_is_no_hindrance(kind):
    splits = toy_splits(kind)
    del splits["other"]
    assert set(run(kind, splits=splits).predictions) == {"valid", "test"}


def test_a_target_that_never_varies_is_predicted_as_it_is():
    splits = {
        name: with_targets(split, lambda column: np.full_like(column, 3.5))
        for name, split in toy_splits("sequence_value").items()
    }
    for head in ("linear", "aligned_ridge"):
        found = run("sequence_value", head, splits=splits).predictions["test"]
        np.testing.assert_allclose(found.values, 3.5)


def test_progress_counts_epochs():
    heard = []
    history = run("token_class", "tape", progress=lambda *told: heard.append(told)).history
    assert heard == [(epoch, 4, history[epoch - 1][1]) for epoch in (1, 2, 3, 4)]


@pytest.mark.parametrize("kind", ["token_class", "sequence_class", "residue_pair"])
def test_progress_counts_penalties_where_a_head_is_solved(kind):
    heard = []
    trained = run(kind, progress=lambda *told: heard.append(told))
    most = len(Probe().plan(CARDS[kind], onehot.load().identity, None).entry.solver.penalties)
    assert [told[:2] for told in heard] == [(n + 1, most) for n in range(len(heard))]
    assert trained.selected["valid_loss"] == min(loss for *_, loss in heard)


@pytest.mark.parametrize("kind", CARDS)
def test_a_solved_head_is_the_same_for_every_seed_and_says_so(kind):
    plan = Probe("linear").plan(CARDS[kind], onehot.load().identity, None)
    assert not plan.seed_matters
    assert Probe("tape").plan(CARDS[kind], onehot.load().identity, None).seed_matters
    first, second = run(kind, "linear", seed=0), run(kind, "linear", seed=1)
    assert first.selected == second.selected
    for name, found in first.predictions.items():
        np.testing.assert_array_equal(found.values, second.predictions[name].values)


def test_the_card_names_the_head_unless_the_user_or_the_model_does():
    plan = Probe().plan(CARDS["sequence_value"], onehot.load().identity, None)
    assert (plan.head, plan.pool) == ("linear", "mean")
    plan = Probe("tape").plan(CARDS["sequence_value"], onehot.load().identity, None)
    assert (plan.head, plan.pool) == ("tape", "mean")
    plan = Probe().plan(CARDS["sequence_value"], positional.load().identity, None)
    assert (plan.head, plan.pool) == ("aligned_ridge", "residues")


def test_an_unknown_head_is_named_with_its_neighbours():
    with pytest.raises(UsageError, match="did you mean linear") as caught:
        Probe("linaer").plan(CARDS["token_class"], onehot.load().identity, None)
    assert "tape" in str(caught.value)
    with pytest.raises(UsageError, match="aligned_ridge"):
        Probe("aligned_ridge").plan(CARDS["token_class"], onehot.load().identity, None)


def test_a_model_with_one_head_takes_no_other():
    with pytest.raises(UsageError, match="aligned_ridge only"):
        Probe("linear").plan(CARDS["sequence_value"], positional.load().identity, None)


@pytest.mark.parametrize(("kind", "head"), ALL)
def test_every_choice_can_be_written_down(kind, head):
    plan = Probe(head).plan(CARDS[kind], onehot.load().identity, None)
    assert plan.version == VERSION
    written = json.loads(json.dumps(plan.resolved))
    assert written == plan.resolved
    assert written["head"] == head
    if head in ("linear", "window", "aligned_ridge"):
        assert {"method", "penalties", "selection"} <= set(written)
    else:
        assert {"learning_rate", "weight_decay", "batch", "max_epochs", "patience"} <= set(written)


def test_planning_does_not_wait_for_torch():
    code = (
        "import sys\n"
        "from tape_bench.models.controls import onehot\n"
        "from tape_bench.protocols.probe.plan import Probe\n"
        "from tape_bench import registry\n"
        "Probe().plan(registry.task('stability'), onehot.load().identity, None).resolved\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_letters_are_those_of_the_vocabulary():
    assert onehot.load().identity.hidden_size == len(LETTERS)
