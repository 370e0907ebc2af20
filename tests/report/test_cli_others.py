"""`compare`, `plot` and `history`, and how fast all verbs start."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tape_bench.cli import compare, history, plot
from tape_bench.errors import NotComparableError, RecordError, UsageError
from tape_bench.results import store


@pytest.fixture
def runs(tmp_path, write_run, measured):
    for side, noise in (("a", 0.5), ("b", 1.0)):
        write_run(tmp_path / side, measured(noise, seed=ord(side)), "stability", model=side)
    return tmp_path / "a", tmp_path / "b"


def test_compare_prints_a_verdict(invoke, runs):
    done = invoke(compare.command, *runs, "--draws", 200)

    assert done.exit_code == 0
    assert "b is worse by" in done.output


def test_compare_gives_json(invoke, runs):
    (change,) = json.loads(invoke(compare.command, *runs, "--draws", 200, "--json").output)

    assert change["high"] < 0
    assert change["task"] == "stability"


def test_compare_refuses_or_says_so(invoke, tmp_path, make):
    for side, protocol in (("a", "probe"), ("b", "finetune")):
        record = make(protocol=protocol)
        store.write(store.path_of(tmp_path / side, record), record)
    sides = tmp_path / "a", tmp_path / "b"

    refused = invoke(compare.command, *sides).exception
    told = invoke(compare.command, *sides, "--anyway").output

    assert isinstance(refused, NotComparableError)
    assert refused.exit_code == 3
    assert "NOT COMPARABLE" in told


def write(folder, *records):
    for record in records:
        store.write(store.path_of(folder, record), record)
    return folder


def test_compare_leaves_trials_beside_real_runs_out_and_says_so(invoke, tmp_path, make):
    a = write(
        tmp_path / "a",
        make(model="a"),
        make(model="a", data="simulated", digest="5" * 64, source="sample", run_key="1" * 64),
        make("stability", model="a", limit=10, run_key="2" * 64),
    )
    b = write(
        tmp_path / "b",
        make(model="b", value=0.4, run_key="3" * 64),
        make(model="b", data="simulated", digest="5" * 64, source="sample", run_key="4" * 64),
        make("contact", model="b", run_key="6" * 64),
    )

    done = invoke(compare.command, a, b)
    sample = invoke(compare.command, a, b, "--data", "sample")

    assert done.exit_code == 0
    text = " ".join(done.output.split())
    assert "−0.100" in text
    assert "not compared: 1 pair of trials" in text
    assert "only A has a (official data, seeds 0) on stability" in text
    assert "only B has b (official data, seeds 0) on contact" in text
    assert sample.exit_code == 0
    assert "−0.100" not in sample.output


def test_compare_lists_what_is_not_comparable_beside_what_is(invoke, tmp_path, make):
    a = write(tmp_path / "a", make(), make("stability", run_key="2" * 64))
    b = write(
        tmp_path / "b",
        make(value=0.4, run_key="3" * 64),
        make("stability", run_key="4" * 64, digest="9" * 64),
    )

    done = invoke(compare.command, a, b)

    assert done.exit_code == 0
    text = " ".join(done.output.split())
    assert "not compared: stability of bert: the data differs in test, train, valid" in text


@pytest.mark.parametrize("asked", [("--seeds", "0"), ("--latest",)])
def test_compare_lets_the_user_choose_among_several(invoke, tmp_path, make, asked):
    older = make(model="a", value=0.6, seeds=(1,), given={"head": "x"}, run_key="1" * 64)
    newer = make(model="a", value=0.5, given={"head": "y"}, started="2026-01-03", run_key="2" * 64)
    a = write(tmp_path / "a", older, newer)
    b = write(tmp_path / "b", make(model="b", value=0.4, given={"head": "z"}, run_key="3" * 64))

    unclear = invoke(compare.command, a, b)
    told = invoke(compare.command, a, b, *asked)

    assert isinstance(unclear.exception, RecordError)
    assert "3 records could be meant" in unclear.exception.what
    assert told.exit_code == 0
    assert "−0.100" in told.output


def test_compare_names_the_kinds_there_are(invoke, tmp_path, make):
    a, b = write(tmp_path / "a", make()), write(tmp_path / "b", make())

    error = invoke(compare.command, a, b, "--data", "partial").exception

    assert isinstance(error, RecordError)
    assert "official data ddddddd" in error.what


def test_compare_heads_folders_of_several_models_by_their_paths(invoke, tmp_path, make):
    models = [make(model=name, run_key=name * 64) for name in "cd"]
    a, b = write(tmp_path / "old", *models), write(tmp_path / "new", *models)

    text = "".join(invoke(compare.command, a, b).output.split())

    assert f"A:{a}" in text
    assert f"B:{b}" in text
    assert "fluorescence,c" in text or "fluorescencec" in text


def test_compare_without_a_common_task_is_an_error(invoke, tmp_path, make):
    for side, task in (("a", "stability"), ("b", "contact")):
        record = make(task)
        store.write(store.path_of(tmp_path / side, record), record)

    assert isinstance(
        invoke(compare.command, tmp_path / "a", tmp_path / "b").exception, RecordError
    )


def test_plot_writes_files(invoke, runs, tmp_path):
    done = invoke(plot.command, *runs, "--into", tmp_path / "plots", "--format", "svg")

    assert done.exit_code == 0
    written = [path for path in (tmp_path / "plots").rglob("*") if path.is_file()]
    names = {
        f"{path.parent.relative_to(tmp_path)}/{path.name.split('-')[0].split('.')[0]}"
        for path in written
    }
    assert names == {"plots/overview", "plots/published", "plots/a/scatter", "plots/b/scatter"}


def test_plot_draws_what_records_without_predictions_give(invoke, runs, tmp_path):
    for path in tmp_path.rglob("*.npz"):
        path.unlink()

    done = invoke(plot.command, *runs, "--into", tmp_path / "plots", "--format", "pdf")
    asked = invoke(plot.command, *runs, "--into", tmp_path / "plots", "--kind", "scatter")

    assert done.exit_code == 0
    assert "not drawn for 2 records: scatter, length, mutations" in done.stderr
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "overview.pdf",
        "published.pdf",
    }
    assert (tmp_path / "plots" / "overview.pdf").read_bytes().startswith(b"%PDF")
    assert isinstance(asked.exception, RecordError)
    assert "predictions" in asked.exception.what


def test_plot_says_when_there_is_nothing_to_draw(invoke, runs):
    assert isinstance(invoke(plot.command, *runs, "--kind", "contacts").exception, RecordError)


def test_history_over_folders(invoke, tmp_path, make):
    for day, value in ((1, 0.5), (2, 0.6)):
        record = make(value=value, started=f"2026-01-0{day}", commit=str(day) * 40)
        store.write(store.path_of(tmp_path / str(day), record), record)
    asked = "fluorescence", "bert", tmp_path

    table = invoke(history.command, *asked).output
    entries = json.loads(invoke(history.command, *asked, "--json").output)
    invoke(history.command, *asked, "--plot", tmp_path / "history.svg")

    assert "+0.100" in table
    assert table.index("commit 2222222") < table.index("2026-01-02")
    assert [entry["value"] for entry in entries] == [0.5, 0.6]
    assert (tmp_path / "history.svg").read_text().startswith("<?xml")


def test_history_names_what_it_does_not_know(invoke, tmp_path):
    tmp_path.joinpath("empty").mkdir()
    asked = "fluorescence", "bert", tmp_path

    assert isinstance(invoke(history.command, *asked).exception, RecordError)
    assert isinstance(invoke(history.command, *asked, "--metric", "rho").exception, UsageError)
    assert isinstance(invoke(history.command, *asked, "--plot", "x.gif").exception, UsageError)


def modules_after(verb: str, *arguments: object) -> set[str]:
    """Run a verb in a process of its own; return the libraries it imported."""
    code = (
        f"import sys; from tape_bench.cli.{verb} import command\n"
        f"try: command({[str(argument) for argument in arguments]!r}, standalone_mode=False)\n"
        "except SystemExit: pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_tables_and_gates_start_without_heavy_libraries(runs):
    a, b = runs
    for verb, arguments in {
        "report": [a],
        "check": [a, "--against", b],
        "history": ["stability", "a", a],
        "compare": ["--help"],
        "plot": ["--help"],
    }.items():
        heavy = {"torch", "pandas", "matplotlib", "scipy", "sklearn"}
        assert not heavy & modules_after(verb, *arguments), verb


def test_no_verb_ever_imports_torch_or_pandas(runs, tmp_path):
    a, b = runs
    for verb, *arguments in (
        ("report", a, "--format", "html"),
        ("report", a, "--format", "csv"),
        ("check", a, "--against", b, "--paired"),
        ("compare", a, b, "--draws", 200),
        ("plot", a, "--into", tmp_path / "plots", "--format", "svg"),
    ):
        assert not {"torch", "pandas"} & modules_after(verb, *arguments), verb
