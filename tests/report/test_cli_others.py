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
    names = {path.name.split("-")[0].split(".")[0] for path in (tmp_path / "plots").iterdir()}
    assert names == {"overview", "published", "scatter"}


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
    for verb, arguments in {
        "report": [a, "--format", "html"],
        "check": [a, "--against", b, "--paired"],
        "compare": [a, b, "--draws", 200],
        "plot": [a, "--into", tmp_path / "plots", "--format", "svg"],
    }.items():
        assert not {"torch", "pandas"} & modules_after(verb, *arguments), verb
