"""Contacts without training: against transformers' head, loops, and planted maps and couplings."""

from __future__ import annotations

from dataclasses import replace

import hub_models
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tape_bench import evaluate, load_model, load_task
from tape_bench.data.vocabulary import RESIDUES, TAPE_IUPAC
from tape_bench.errors import TasksFailedError
from tape_bench.models.controls.onehot import control_identity
from tape_bench.progress import Progress
from tape_bench.protocols.zero_shot import contacts
from tape_bench.protocols.zero_shot.couplings import apc, categorical_jacobian, couplings
from tape_bench.results import store
from tape_bench.results.predictions import read_predictions
from tape_bench.scoring.contacts import contact_labels

HEADLINE = "contact.precision@L/5.ge6.upper.by_protein"


class Model:
    """A model that represents nothing."""

    identity = control_identity("planted", hidden_size=1)

    def embed(self, sequences, pool="residues"):
        return [np.zeros((len(s), 1) if pool == "residues" else 1, np.float32) for s in sequences]


def touching():
    """Which residues of the sample's proteins touch."""
    data = load_task("contact", "sample")
    known = {}
    for split in data.values():
        for example in split:
            known[example.sequence] = contact_labels(example.targets["contact"]) == 1
    return known


class Looking(Model):
    """Six heads, of which the fourth looks at what a residue touches."""

    def __init__(self):
        self.known = touching()

    def attention_maps(self, sequence):
        rng = np.random.default_rng(len(sequence))
        for layer in range(3):
            maps = rng.random((2, len(sequence), len(sequence))) ** 4
            if layer == 1:
                maps[1] += 3 * np.tril(self.known[sequence])
            yield (maps / maps.sum(-1, keepdims=True)).astype(np.float32)


class Potts(Model):
    """Logits are fields and couplings of residues that touch."""

    vocabulary = TAPE_IUPAC

    def __init__(self, known=None):
        rng = np.random.default_rng(0)
        self.known = touching() if known is None else known
        self.by_length = {}
        for sequence, touch in self.known.items():
            self.by_length.setdefault(len(sequence), touch)
        self.coupling = rng.normal(size=(30, 30))
        self.coupling += self.coupling.T
        self.field = rng.normal(size=30)

    def token_logits(self, token_ids):
        found = []
        for ids in token_ids:
            touch = self.by_length[len(ids)].astype(float)
            seen = np.eye(30)[ids]
            found.append((self.field + touch @ seen @ self.coupling).astype(np.float32))
        return found


def score(record, metric=HEADLINE):
    return next(m for m in record.metrics if m.id == metric and m.split == "test")


def test_the_planted_head_is_found(tmp_path):
    (record,) = evaluate(
        Looking(), "contact", data="sample", protocol="zero_shot", out=tmp_path, seeds=(0, 1)
    )
    assert score(record).value > 0.98, "noise of the other heads, which are weighed a little"
    assert record.protocol.resolved["what_moved"] == "weights of attention heads"
    told = record.protocol.selected["contact/0"]
    assert told["heads"] == 6
    assert len(told["proteins"]) == min(20, len(load_task("contact", "sample")["train"]))
    assert record.protocol.seeds == [0, 1]


def test_weights_are_scikit_learns_on_features_by_hand(tmp_path):
    model = Looking()
    data = load_task("contact", "sample")
    (record,) = evaluate(
        model, "contact", data="sample", protocol="zero_shot", out=tmp_path, seeds=(5,)
    )
    by_id = {e.id: e for split in ("train", "test") for e in data[split]}
    rows, labels = [], []
    for id in record.protocol.selected["contact/5"]["proteins"]:
        x, y = by_hand(model, by_id[id])
        rows.append(x[y >= 0])
        labels.append(y[y >= 0])
    new = LogisticRegression().penalty == "deprecated"
    l1 = {"l1_ratio": 1.0} if new else {"penalty": "l1"}
    solver = LogisticRegression(**l1, C=0.15, solver="liblinear", random_state=5)
    solver.fit(np.concatenate(rows), np.concatenate(labels))
    kept = next(tmp_path.rglob("*.npz"))
    found = read_predictions(kept, "residue_pair")["contact", "test"][5]
    for place, id in enumerate(found.ids):
        x, _ = by_hand(model, by_id[id])
        begin, end = found.offsets[place : place + 2]
        assert found.values[begin:end] == pytest.approx(solver.predict_proba(x)[:, 1], abs=1e-6)


def by_hand(model, example):
    """Features of pairs, in loops, and their labels."""
    maps = np.concatenate(list(model.attention_maps(example.sequence))).astype(float)
    size = len(example.sequence)
    touch = contact_labels(example.targets["contact"])
    x, y = [], []
    even = [m + m.T for m in maps]
    for i in range(size):
        for j in range(i + 6, size):
            x.append([m[i, j] - m[i].sum() * m[:, j].sum() / m.sum() for m in even])
            y.append(touch[i, j])
    return np.array(x), np.array(y)


def test_probabilities_are_those_of_transformers_contact_head(tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    sequence = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEV"
    folder = hub_models.make("esm2", tmp_path / "esm2")
    theirs = transformers.EsmModel.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = transformers.EsmTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        torch.manual_seed(0)
        theirs.contact_head.regression.weight.normal_().mul_(20)
        theirs.contact_head.regression.bias.fill_(-1)
        read = tokenizer(sequence, return_tensors="pt")
        expected = theirs.predict_contacts(read["input_ids"], read["attention_mask"])[0].numpy()
    scorer = contacts._ByAttention(load_model(f"hf:{folder}"))
    weights = theirs.contact_head.regression.weight.detach().numpy()[0].astype(np.float64)
    scorer.fitted = {0: (weights, -1.0)}
    (found,) = scorer.scores(sequence, [].append)
    assert found.std() > 0.01
    assert found == pytest.approx(expected[np.triu_indices(len(sequence), 6)], abs=1e-4)


def test_planted_couplings_are_found(tmp_path):
    data = load_task("contact", "sample", limit=3)["test"]
    known = {e.sequence: contact_labels(e.targets["contact"]) == 1 for e in data}
    assert len(set(map(len, known))) == len(known), "by its length the planted model knows one"
    (record,) = evaluate(
        Potts(known), "contact", data="sample", protocol="zero_shot", method="jacobian",
        out=tmp_path, limit=3,
    )  # fmt: skip
    assert score(record).value == 1
    assert record.protocol.resolved["what_moved"] == "nothing"
    assert not record.protocol.seed_matters


def test_the_jacobian_in_loops():
    sequence = "MKTAYIAKQRW"
    touch = np.zeros((11, 11), bool)
    touch[1, 9] = touch[9, 1] = touch[0, 7] = touch[7, 0] = True
    model = Potts({sequence: touch})
    ids, letters = TAPE_IUPAC.encode(sequence), TAPE_IUPAC.encode(RESIDUES)
    wanted = np.zeros((11, 20, 11, 20))
    (before,) = model.token_logits([ids])
    for i in range(11):
        for a, letter in enumerate(letters):
            own = ids.copy()
            own[i] = letter
            (after,) = model.token_logits([own])
            for j in range(11):
                for b, read in enumerate(letters):
                    wanted[i, a, j, b] = after[j, read] - before[j, read]
    told = []
    found = categorical_jacobian(model, sequence, told.append)
    assert found == pytest.approx(wanted, abs=1e-5)
    assert told[-1] == 20 * 11**2, "tokens read, all of them"
    for axis in range(4):
        wanted -= wanted.mean(axis, keepdims=True)
    wanted = (wanted + wanted.transpose(2, 3, 0, 1)) / 2
    norms = np.sqrt((wanted**2).sum((1, 3)))
    np.fill_diagonal(norms, 0)
    corrected = norms - np.outer(norms.sum(1), norms.sum(0)) / norms.sum()
    found = couplings(model, sequence, told.append)
    assert found == pytest.approx(corrected, abs=1e-4)
    far = np.triu(found, 6)
    assert {tuple(np.unravel_index(p, far.shape)) for p in np.argsort(far, axis=None)[-2:]} == {
        (0, 7),
        (1, 9),
    }


def test_apc_leaves_no_mean_of_a_place():
    coupled = np.outer([1.0, 2, 3], [1.0, 2, 3])
    assert apc(coupled) == pytest.approx(np.zeros((3, 3)))
    assert apc(np.zeros((3, 3))) == pytest.approx(np.zeros((3, 3)))


def test_a_sample_is_counted(tmp_path):
    (record,) = evaluate(
        Looking(), "contact", data="sample", protocol="zero_shot", out=tmp_path, seeds=(0,),
        sample=2,
    )  # fmt: skip
    split = record.task.data.splits["test"]
    assert split.n_scored == 2
    assert split.n_skipped["not sampled"] == split.n_total - 2


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (Potts, {}, "shows no attention maps.*method=jacobian"),
        (Looking, {"method": "jacobian"}, "says no likelihoods.*method=attention"),
        (Looking, {"method": "pll"}, "not for contact.*attention, jacobian"),
        (Looking, {"context": "M"}, "variants only"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, model, options, said):
    with pytest.raises(TasksFailedError, match=f"(?s){said}"):
        evaluate(
            model(), "contact", data="sample", protocol="zero_shot", out=tmp_path, limit=3,
            **options,
        )  # fmt: skip


def test_chains_without_a_contact_are_passed_over():
    split = load_task("contact", "sample", limit=4)["train"]
    far = split.columns.fields["tertiary"].copy()
    begin, end = split.columns.offsets[1:3]
    far[begin:end] = np.arange(end - begin)[:, None] * 100.0
    columns = replace(split.columns, fields={"tertiary": far})
    scorer = contacts._ByAttention(Looking())
    scorer.fit(replace(split, columns=columns), (0,), Progress())
    assert sorted(scorer.drawn[0]) == sorted(set(split.ids) - {split.ids[1]})


def test_much_work_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(contacts, "MANY_TOKENS", 1000)
    data = load_task("contact", "sample", limit=2)["test"]
    known = {e.sequence: contact_labels(e.targets["contact"]) == 1 for e in data}
    with pytest.warns(UserWarning, match="million tokens"):
        evaluate(
            Potts(known), "contact", data="sample", protocol="zero_shot", method="jacobian",
            out=tmp_path, limit=2,
        )  # fmt: skip
    assert store.read_whole(next(tmp_path.rglob("zero_shot-*.json"))) is not None
