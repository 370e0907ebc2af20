from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from tape_bench.report.gate import judge, reports
from tape_bench.report.gate.judge import Exit
from tape_bench.report.gate.tolerance import Tolerances, parse
from tape_bench.results import store
from tape_bench.results.collect import Records, collect_records


@pytest.fixture
def folder(tmp_path):
    """Write records to a folder and gather them."""

    def fill(name, *records):
        for record in records:
            store.write(store.path_of(tmp_path / name, record), record)
        return collect_records([tmp_path / name]) if records else Records()

    return fill


def outcome(new, reference, *tolerances):
    return judge.check(new, reference, parse(tolerances)).outcome


@pytest.mark.parametrize(
    ("value", "tolerances", "expected"),
    [
        (0.50, [], Exit.FINE),
        (0.51, [], Exit.FINE),
        (0.49, [], Exit.REGRESSION),
        (0.49, ["0.02"], Exit.FINE),
        (0.49, ["fluorescence=0.001"], Exit.REGRESSION),
        (0.49, ["0.001", "fluorescence=0.02"], Exit.FINE),
    ],
)
def test_a_drop_beyond_the_tolerance_is_a_regression(folder, make, value, tolerances, expected):
    new, reference = folder("new", make(value=value)), folder("reference", make(value=0.5))

    assert outcome(new, reference, *tolerances) == expected


def test_a_named_metric_is_checked_and_lower_may_be_better(folder, make):
    mse = ("log_fluorescence.mse", "test")
    reference = folder("reference", make(others={mse: 0.2}))
    new = folder("new", make(others={mse: 0.3}))

    assert outcome(new, reference) == Exit.FINE
    assert outcome(new, reference, "fluorescence:log_fluorescence.mse=0.05") == Exit.REGRESSION
    assert outcome(new, reference, "fluorescence:log_fluorescence.mse=0.15") == Exit.FINE


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"protocol": "finetune"}, Exit.NOT_COMPARABLE),
        ({"digest": "9" * 64}, Exit.NOT_COMPARABLE),
        ({"status": "failed"}, Exit.UNTOLD),
        ({"status": "started"}, Exit.UNTOLD),
        ({"value": None, "undefined": "constant"}, Exit.UNTOLD),
    ],
)
def test_what_cannot_be_checked_is_not_fine(folder, make, changes, expected):
    new, reference = folder("new", make(**changes)), folder("reference", make())

    assert outcome(new, reference) == expected


def test_missing_records_are_incomplete(folder, make):
    reference = folder("reference", make(), make("stability"))

    assert outcome(folder("new", make()), reference) == Exit.UNTOLD
    assert outcome(folder("none"), reference) == Exit.UNTOLD
    assert outcome(folder("new", make()), folder("none")) == Exit.UNTOLD


def test_records_without_a_reference_are_noted(folder, make):
    verdict = judge.check(
        folder("new", make(), make("stability")), folder("reference", make()), Tolerances()
    )

    assert verdict.outcome == Exit.FINE
    assert "stability" in verdict.notes[0]


def test_a_regression_outweighs_what_is_missing(folder, make):
    reference = folder("reference", make(), make("stability"))

    assert outcome(folder("new", make(value=0.1)), reference) == Exit.REGRESSION


def test_an_edited_record_is_refused(folder, make, tmp_path):
    reference, new = folder("reference", make()), folder("new", make())
    path = new.filed[0].path
    path.write_text(path.read_text().replace('"value": 0.5', '"value": 0.9'))

    assert outcome(collect_records([tmp_path / "new"]), reference) == Exit.NOT_COMPARABLE


def test_a_record_cut_short_is_incomplete(folder, make, tmp_path):
    reference, new = folder("reference", make()), folder("new", make())
    path = new.filed[0].path
    path.write_text(path.read_text()[:50])

    assert outcome(collect_records([tmp_path / "new"]), reference) == Exit.UNTOLD


@pytest.fixture
def paired(tmp_path, write_run, measured):
    def verdict(noise, seed, **settings):
        write_run(tmp_path / "reference", measured(0.5, seed=1), "stability")
        write_run(tmp_path / "new", measured(noise, seed=seed), "stability", **settings)
        sides = collect_records([tmp_path / "new"]), collect_records([tmp_path / "reference"])
        return judge.check(*sides, Tolerances(), paired=True, draws=1000)

    return verdict


def test_paired_lets_chance_pass(paired):
    verdict = paired(0.5, seed=3)

    change = verdict.findings[0].change
    assert change is not None
    assert change.better is not None
    assert change.better < 0, "a seed with a drop is needed for this test"
    assert verdict.outcome == Exit.FINE
    assert "chance" in verdict.findings[0].why


def test_paired_catches_a_real_loss(paired):
    assert paired(0.9, seed=2).outcome == Exit.REGRESSION


@pytest.mark.parametrize("seeds", [[0], [7]])
def test_paired_a_drop_of_a_head_trained_once_cannot_be_told(paired, seeds):
    verdict = paired(0.9, seed=2, seeds=seeds, solved=False)

    assert verdict.outcome == Exit.UNTOLD
    assert int(verdict.outcome) == 4
    assert "seed variance is unknown" in verdict.findings[0].why


def test_paired_no_drop_needs_no_seeds(paired):
    assert paired(0.2, seed=2, solved=False).outcome == Exit.FINE


def test_paired_without_predictions_is_incomplete(folder, make):
    sides = folder("new", make(value=0.4)), folder("reference", make())

    assert judge.check(*sides, Tolerances(), paired=True).outcome == Exit.UNTOLD


def test_a_shift_by_one_residue_is_caught(tmp_path, write_run):
    """Predictions of secondary structure one residue off, as a wrong alignment makes them."""
    from tape_bench.scoring.predictions import Predictions

    random = np.random.default_rng(3)
    lengths = random.integers(60, 120, size=80)
    # Segments of four residues, so that neighbours are alike but not the same.
    truth = np.repeat(random.integers(0, 3, size=-(-lengths.sum() // 4)), 4)[: lengths.sum()]
    scores = np.eye(3)[truth] + random.normal(scale=0.6, size=(len(truth), 3))
    for side, values in (("reference", scores), ("new", np.roll(scores, 1, axis=0))):
        ids = tuple(f"protein{i}" for i in range(80))
        predictions = Predictions("token_class", ids, lengths, values.astype(np.float32), truth)
        write_run(tmp_path / side, predictions, "secondary_structure")

    sides = collect_records([tmp_path / "new"]), collect_records([tmp_path / "reference"])

    verdict = judge.check(*sides, parse(["0.005"]), paired=True, draws=1000)
    assert verdict.outcome == Exit.REGRESSION


def test_junit_counts_failures_and_errors(folder, make):
    reference = folder("reference", make(), make("stability"), make("contact"))
    new = folder("new", make(value=0.1), make("stability"))

    suite = ElementTree.fromstring(reports.junit(judge.check(new, reference, Tolerances()))).find(
        "testsuite"
    )

    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert len(suite.findall("testcase/failure")) == 1
    assert len(suite.findall("testcase/error")) == 1


def test_reports_hold_hostile_names(folder, make):
    name = "a|b<script>\x1b[31m&\x00"
    reference, new = (
        folder("reference", make(model=name)),
        folder("new", make(value=0.1, model=name)),
    )

    verdict = judge.check(new, reference, Tolerances())

    ElementTree.fromstring(reports.junit(verdict))
    assert "<script>" not in reports.markdown(verdict)
    assert "\x1b" not in reports.text(verdict)
