"""Scores without training: against brute force on planted likelihoods, and known floors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr

from tape_bench import evaluate, load_model, load_task, registry
from tape_bench.cli import program
from tape_bench.data.parents import consensus, parents_of, places_changed
from tape_bench.data.vocabulary import TAPE_IUPAC
from tape_bench.errors import TasksFailedError, UsageError
from tape_bench.models.controls.blosum62 import BLOSUM62
from tape_bench.models.controls.onehot import control_identity
from tape_bench.protocols.zero_shot.likelihoods import Likelihoods
from tape_bench.results import store
from tape_bench.results.predictions import read_predictions

PARENT = "MKTAYIAKQR"
VARIANTS = ["MKTAYIAKQR", "MKTAYIAKQA", "MWTAYIAKQR", "AKTAYWAKQG", "MWTAYIAKQR"]
SHORT = "MKTAYIAKQ"


class Planted:
    """Logits of each place are a table of counts and how many of each token stand elsewhere."""

    vocabulary = TAPE_IUPAC

    def __init__(self):
        self.asked = 0
        self.table = np.random.default_rng(0).normal(size=(30, 30))

    @property
    def identity(self):
        return control_identity("planted", hidden_size=1)

    def embed(self, sequences, pool="residues"):
        return [np.zeros((len(s), 1) if pool == "residues" else 1, np.float32) for s in sequences]

    def logits(self, ids):
        # What stands at a place says nothing about itself unless it is seen there.
        counts = np.bincount(ids, minlength=30).astype(float)
        rows = []
        for place, own in enumerate(ids):
            rows.append(self.table @ counts / 7 + 0.1 * place + 0.5 * np.eye(30)[own])
        return np.array(rows, np.float32)

    def token_logits(self, token_ids):
        self.asked += len(token_ids)
        return [self.logits(ids) for ids in token_ids]


def log_p(model, ids, place):
    row = model.logits(np.array(ids))[place].astype(np.float64)
    return row - np.log(np.exp(row).sum())


def brute_force(model, method, variant, context=""):
    """The definitions, in loops."""
    encode, mask = TAPE_IUPAC.encode, TAPE_IUPAC.mask
    parent, own = list(encode(context + PARENT)), list(encode(context + variant))
    shift = len(context)
    if method.startswith("pll"):
        total = 0.0
        for place in range(shift, len(own)):
            hidden = own.copy()
            hidden[place] = mask
            total += log_p(model, hidden, place)[own[place]]
        return total / len(variant) if method == "pll_per_residue" else total
    total = 0.0
    for place in range(shift, len(own)):
        if own[place] == parent[place]:
            continue
        seen = {"wt_marginals": parent, "mutant_marginals": own}.get(method)
        if seen is None:
            seen = parent.copy()
            seen[place] = mask
        row = log_p(model, seen, place)
        total += row[own[place]] - row[parent[place]]
    return total


METHODS = ("masked_marginals", "wt_marginals", "mutant_marginals", "pll", "pll_per_residue")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("context", ["", "GW"])
def test_every_method_is_its_definition(method, context):
    model = Planted()
    told = []
    found = Likelihoods(model, context).scores(method, PARENT, VARIANTS, told.append)
    by_hand = [brute_force(model, method, variant, context) for variant in VARIANTS]
    np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-6)
    if not method.startswith("pll"):
        assert found[0] == 0, "the parent itself"


@pytest.mark.parametrize(
    ("method", "readings"),
    [("wt_marginals", 1), ("masked_marginals", 4), ("mutant_marginals", 4), ("pll", 40)],
)
def test_it_costs_what_it_says(method, readings):
    model = Planted()
    told = [0]
    asked = Likelihoods(model)
    asked.scores(method, PARENT, VARIANTS, told.append)
    assert model.asked == readings
    assert asked.cost(method, PARENT, VARIANTS) == readings * len(PARENT)
    assert told[-1] in (0, readings * len(PARENT))


def test_parents_are_the_cards_or_what_most_have():
    assert consensus(["MKV", "MAV", "MKV", "MK"]) == "MKV"
    assert places_changed("MAV", "MKV").tolist() == [1]
    assert places_changed("MK", "MKV") is None
    split = load_task("stability", data="sample")["test"]
    found = parents_of(split)
    for row in (0, 10, 50):
        own = split.columns.clusters[row]
        alike = [
            s for s, c in zip(split.sequences, split.columns.clusters, strict=True) if c == own
        ]
        assert found[row] == consensus(alike)
    with pytest.raises(UsageError, match="remote_homology names no parent"):
        parents_of(load_task("remote_homology", data="sample")["valid"])


def test_a_task_from_card_to_record(tmp_path: Path):
    card = registry.task("fluorescence")
    settings = {"data": "sample", "limit": 60, "out": tmp_path, "protocol": "zero_shot"}
    (record,) = evaluate(Planted(), "fluorescence", **settings)
    assert record.status == "complete"
    assert record.protocol.selected["log_fluorescence/test"]["method"] == "masked_marginals"
    assert record.protocol.resolved["what_moved"] == "nothing"
    assert record.leakage == {}
    assert set(record.task.data.splits) == {"test"}
    path = store.predictions_path(store.path_of(tmp_path, record))
    found = read_predictions(path, "sequence_value")["log_fluorescence", "test"][0]
    split = load_task(card, data="sample", limit=60)["test"]
    by_id = dict(zip(split.ids, split.sequences, strict=True))
    parent = parents_of(split)[0]
    direct = Likelihoods(Planted()).scores(
        "masked_marginals", parent, [by_id[id] for id in found.ids], lambda _: None
    )
    np.testing.assert_allclose(found.values, direct, rtol=1e-5)
    (headline,) = [m for m in record.metrics if m.primary]
    assert headline.value == pytest.approx(spearmanr(found.targets, direct)[0])


def test_what_has_no_score_is_counted_and_a_sample_is_asked_for(tmp_path: Path):
    rows = ["id,sequence,log_fluorescence"]
    rows += [f"v{n},{PARENT[:n]}{'ACDEFGHIK'[n]}{PARENT[n + 1 :]},{n}.0" for n in range(9)]
    rows += [f"short,{SHORT},0.5"]
    folder = tmp_path / "fluorescence"
    folder.mkdir()
    (folder / "fluorescence_test.csv").write_text("\n".join(rows) + "\n")
    settings = {"data": tmp_path, "out": tmp_path / "out", "protocol": "zero_shot"}
    (record,) = evaluate("mutations", "fluorescence", **settings)
    test = record.task.data.splits["test"]
    assert test.n_skipped == {"of another length than its parent": 1}
    assert test.n_total == 10
    assert test.n_scored == 9
    assert record.protocol.selected["log_fluorescence/test"]["is_the_cards"] is False
    assert record.protocol.selected["log_fluorescence/test"]["method"] == "the model's own"
    (whole,) = evaluate(Planted(), "fluorescence", method="pll", **settings)
    assert whole.protocol.selected["log_fluorescence/test"]["method"] == "pll"
    assert whole.task.data.splits["test"].n_skipped == {}
    (part,) = evaluate(Planted(), "fluorescence", sample=5, **settings)
    assert part.task.data.splits["test"].n_skipped == {
        "of another length than its parent": 1,
        "not sampled": 4,
    }


def test_what_makes_no_sense_is_told(tmp_path: Path):
    settings = {"data": "sample", "limit": 20, "out": tmp_path, "protocol": "zero_shot"}
    with pytest.raises(
        UsageError, match="no MaskedLanguageModel or VariantScorer or AttentionMaps, it lacks"
    ):
        evaluate("onehot", "stability", **settings)
    with pytest.raises(TasksFailedError, match="zero_shot cannot score secondary_structure"):
        evaluate(Planted(), "secondary_structure", **settings)
    with pytest.raises(TasksFailedError, match="has no spread"):
        evaluate(Planted(), "stability", sample=1, **settings)
    with pytest.raises(TasksFailedError, match="is no sequence"):
        evaluate(Planted(), "stability", context="m", **settings)
    with pytest.raises(TasksFailedError, match="scores variants itself, and not by pll"):
        evaluate("mutations", "stability", method="pll", **settings)
    with pytest.raises(UsageError, match="it is no Embedder"):
        evaluate("mutations", "stability", **settings | {"protocol": "probe"})


def test_blosum62_is_the_table_of_biology():
    # By hand, from Henikoff & Henikoff's table.
    known = {("W", "W"): 11, ("A", "R"): -1, ("I", "V"): 3, ("P", "F"): -4, ("C", "C"): 9}
    assert {pair: BLOSUM62[pair] for pair in known} == known
    letters = "ARNDCQEGHILKMFPSTWYV"
    assert all(BLOSUM62[a, b] == BLOSUM62[b, a] for a in letters for b in letters)
    diagonal = [4, 5, 6, 6, 9, 5, 5, 6, 8, 4, 4, 5, 5, 6, 7, 4, 5, 11, 7, 4]
    assert [BLOSUM62[a, a] for a in letters] == diagonal
    model = load_model("blosum62")
    # K to W: -3 less 5; R to A: -1 less 5.
    scores = model.score_variants("MKR", ["MKR", "MWR", "MWA", "MK"])
    np.testing.assert_array_equal(scores, np.array([0, -8, -14, np.nan], np.float32))


def test_floors_on_the_official_data(shared: Path, tmp_path: Path):
    """Minus the number of mutations .342, BLOSUM62 .423, on the 25,517 of full length."""
    settings = {"data": shared / "data", "out": tmp_path, "protocol": "zero_shot"}
    for name, known in (("mutations", 0.342), ("blosum62", 0.423)):
        (record,) = evaluate(name, "fluorescence", **settings)
        (headline,) = [m for m in record.metrics if m.primary]
        assert headline.n == 25_517
        assert headline.value == pytest.approx(known, abs=5e-4)
        assert record.task.data.status == "official"
        assert record.protocol.selected["log_fluorescence/test"]["is_the_cards"] is True


@pytest.mark.parametrize(
    "command", [["embed", "mutations", "a.fasta", "-o", "v.npz"], ["bench", "blosum62"]]
)
def test_what_represents_nothing_says_so(command, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.fasta").write_text(">a\nMKTAYIAKQR\n")
    with pytest.raises(UsageError, match="represents no sequences"):
        CliRunner().invoke(program, command, catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.fasta"]
