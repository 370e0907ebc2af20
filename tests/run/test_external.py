"""Predictions of other programs, joined to the data and scored as SciPy and scikit-learn do."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import spearmanr
from sklearn.metrics import accuracy_score

from tape_bench import evaluate, load_records, load_task, score
from tape_bench.cli import program
from tape_bench.data.examples import Split
from tape_bench.errors import DataError, UsageError
from tape_bench.scoring.contacts import pair_labels

SAMPLE = {"data": "sample"}


def headline(task: str) -> Split:
    data = load_task(task, data="sample")
    return data[data.card.headline]


def table(path: Path, columns: list[str], rows: list[tuple[Any, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([tuple(columns), *rows])
    return path


def noisy(split: Split) -> np.ndarray:
    truth = np.array([example.targets["stability_score"] for example in split])
    return truth + np.random.default_rng(0).normal(size=len(truth))


def test_values_score_as_scipy_says(tmp_path: Path):
    split = headline("stability")
    values = noisy(split)
    path = table(
        tmp_path / "p.csv", ["id", "value"], list(zip(split.ids, values.tolist(), strict=True))
    )
    record = score("stability", path, name="mine", out=tmp_path / "out", **SAMPLE)
    (primary,) = (metric for metric in record.metrics if metric.primary)
    truth = [example.targets["stability_score"] for example in split]
    assert primary.value == pytest.approx(spearmanr(values, truth).statistic, abs=1e-6)
    assert primary.interval is not None
    assert (record.protocol.id, record.model.name) == ("external", "mine")
    assert record.status == "complete"
    (filed,) = load_records(tmp_path / "out")
    assert filed.record == record


def test_what_lacks_is_counted_and_what_is_unknown_is_told(tmp_path: Path):
    split = headline("stability")
    values = noisy(split)
    rows = [*zip(split.ids[10:], values[10:].tolist(), strict=True), ("nobody", 1.0)]
    path = table(tmp_path / "p.csv", ["id", "value"], [*rows, (split.ids[0], "")])
    record = score("stability", path, name="mine", out=tmp_path / "out", **SAMPLE)
    (counted,) = record.task.data.splits.values()
    assert (counted.n_total, counted.n_scored) == (len(split), len(split) - 10)
    assert counted.n_skipped == {"no prediction in the file": 10}
    assert record.protocol.selected["unknown_ids"] == 1
    truth = [example.targets["stability_score"] for example in split][10:]
    (primary,) = (metric for metric in record.metrics if metric.primary)
    assert primary.value == pytest.approx(spearmanr(values[10:], truth).statistic, abs=1e-6)


def test_sequences_name_proteins_as_well(tmp_path: Path):
    split = headline("stability")
    one = dict(zip(split.sequences, noisy(split).tolist(), strict=True))
    path = table(tmp_path / "p.csv", ["sequence", "stability_score"], list(one.items()))
    record = score("stability", path, name="mine", out=tmp_path / "out", **SAMPLE)
    (counted,) = record.task.data.splits.values()
    assert counted.n_scored == len(split)


def test_classes_score_as_scikit_learn_says(tmp_path: Path):
    split = headline("remote_homology")
    target = split.card.targets[0].name
    truth = [example.targets[target] for example in split]
    guessed = [t if number % 3 else (t + 1) % 7 for number, t in enumerate(truth)]
    rows = list(zip(split.ids, guessed, strict=True))
    path = table(tmp_path / "p.csv", ["id", "class"], rows)
    record = score("remote_homology", path, name="mine", out=tmp_path / "out", **SAMPLE)
    (primary,) = (metric for metric in record.metrics if metric.primary)
    assert primary.value == pytest.approx(accuracy_score(truth, guessed))


def test_a_class_a_residue(tmp_path: Path):
    split = headline("secondary_structure")
    labels = split.card.target("ss3").labels
    truth, guessed, rows = [], [], []
    random = np.random.default_rng(0)
    for example in split:
        known = example.targets["ss3"]
        guess = np.where(random.random(len(known)) < 0.7, np.maximum(known, 0), 2)
        truth += known[known >= 0].tolist()
        guessed += guess[known >= 0].tolist()
        text = "".join(labels[c] for c in guess) if len(rows) % 2 else " ".join(map(str, guess))
        rows.append((example.id, text))
    path = table(tmp_path / "p.csv", ["id", "ss3"], rows)
    record = score("secondary_structure", path, name="mine", out=tmp_path / "out", **SAMPLE)
    (primary,) = (metric for metric in record.metrics if metric.primary)
    assert primary.value == pytest.approx(accuracy_score(truth, guessed))
    eight = [metric for metric in record.metrics if metric.id.startswith("ss8")]
    assert all(metric.undefined == "the file has no predictions of ss8" for metric in eight)


def test_contacts(tmp_path: Path):
    split = headline("contact")
    arrays = {}
    for example in split:
        residues = len(example.sequence)
        perfect = np.zeros((residues, residues), np.float32)
        (coordinates,) = example.targets.values()
        perfect[np.triu_indices(residues, 6)] = pair_labels(coordinates)
        arrays[example.id] = perfect
    np.savez(tmp_path / "contacts.npz", **arrays)
    record = score("contact", tmp_path / "contacts.npz", name="seer", out=tmp_path / "o", **SAMPLE)
    (primary,) = (metric for metric in record.metrics if metric.primary)
    assert primary.value is not None
    assert primary.value > 0.95  # below 1 where a protein has fewer contacts than L/5


@pytest.mark.parametrize(
    ("columns", "rows", "fault"),
    [
        (["name", "value"], [("a", 1)], "needs a column id"),
        (["id", "score"], [("a", 1)], "needs a column id"),
        (["id", "value"], [("ID", "high")], "line 2(.|\n)*|should hold a number"),
        (["id", "value"], [("ID", "nan")], "should hold a number"),
        (["id", "value"], [("ID", 1), ("ID", 2)], "stands there twice"),
        (["id", "value"], [("ID",)], "more or fewer cells"),
        (["id", "value"], [("nobody", 1)], "none of the predictions is of the split"),
        (["id", "value"], [], "none of the predictions"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, columns: list[str], rows: list, fault: str):
    known = headline("stability").ids[0]
    filled = [tuple(known if cell == "ID" else cell for cell in row) for row in rows]
    path = table(tmp_path / "p.csv", columns, filled)
    with pytest.raises(DataError, match=fault):
        score("stability", path, name="mine", out=tmp_path / "out", **SAMPLE)
    assert not list((tmp_path / "out").rglob("*.json"))


def test_classes_that_do_not_fit(tmp_path: Path):
    split = headline("secondary_structure")
    for text, fault in (("H" * 3, "3 classes for the"), ("9 " * len(split.sequences[0]), "not 9")):
        path = table(tmp_path / "p.csv", ["id", "ss3"], [(split.ids[0], text)])
        with pytest.raises(DataError, match=fault):
            score("secondary_structure", path, name="mine", out=tmp_path / "out", **SAMPLE)
    np.savez(tmp_path / "c.npz", **{headline("contact").ids[0]: np.ones((2, 2))})
    with pytest.raises(DataError, match=r"has the shape \(2, 2\)"):
        score("contact", tmp_path / "c.npz", name="mine", out=tmp_path / "out", **SAMPLE)


def test_what_cannot_be_asked(tmp_path: Path):
    path = table(tmp_path / "p.csv", ["id", "value"], [("a", 1)])
    with pytest.raises(UsageError, match="test split"):
        score("stability", path, name="mine", split="train", **SAMPLE)
    with pytest.raises(UsageError, match="cannot stand in a table"):
        score("stability", path, name="../mine", **SAMPLE)
    with pytest.raises(DataError, match="cannot read the file"):
        score("stability", tmp_path / "none.csv", name="mine", **SAMPLE)
    with pytest.raises(DataError, match=r"array \[residues, residues\]"):
        score("contact", path, name="mine", **SAMPLE)


def test_the_command(tmp_path: Path):
    split = headline("stability")
    rows = list(zip(split.ids[5:], noisy(split)[5:].tolist(), strict=True))
    path = table(tmp_path / "p.csv", ["id", "value"], rows)
    command = ["score", "stability", str(path), "--name", "mine", "--data", "sample", "--out",
               str(tmp_path / "out")]  # fmt: skip
    done = CliRunner().invoke(program, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "5 left out: no prediction in the file" in done.output
    assert "simulated data: " in done.output
    told = CliRunner().invoke(program, [*command, "--json"], catch_exceptions=False)
    assert json.loads(told.output)["protocol"]["id"] == "external"
    report = CliRunner().invoke(program, ["report", str(tmp_path / "out")], catch_exceptions=False)
    assert "mine" in report.output
    with pytest.raises(UsageError, match="no PredictsByItself"):
        evaluate("onehot", "stability", protocol="external", out=tmp_path / "out", **SAMPLE)
