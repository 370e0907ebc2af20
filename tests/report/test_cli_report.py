from __future__ import annotations

import json

import pytest

from tape_bench.cli.report import command
from tape_bench.errors import RecordError, UsageError
from tape_bench.results import store


@pytest.fixture
def folder(tmp_path, make):
    for task in ("fluorescence", "stability"):
        record = make(task)
        store.write(store.path_of(tmp_path / "results", record), record)
    return tmp_path / "results"


def test_the_table_is_printed(invoke, folder):
    done = invoke(command, folder)

    assert done.exit_code == 0
    assert "bert" in done.output
    assert "ProteinLM-3B" in done.output


def test_results_are_found_where_runs_leave_them(invoke, folder, monkeypatch):
    monkeypatch.setenv("TAPE_BENCH_OUT", str(folder))

    assert "bert" in invoke(command).output


@pytest.mark.parametrize(
    ("name", "start"),
    [("x.md", "**TAPE"), ("x.csv", "model,"), ("x.tex", "%"), ("x.json", "{"), ("x.html", "<!DOC")],
)
def test_a_file_is_written_in_the_format_of_its_name(invoke, folder, tmp_path, name, start):
    done = invoke(command, folder, "-o", tmp_path / name)

    assert done.exit_code == 0
    assert (tmp_path / name).read_text().startswith(start)


def test_the_page_has_pictures_unless_told_not_to(invoke, folder):
    with_them = invoke(command, folder, "--format", "html").output
    without = invoke(command, folder, "--format", "html", "--no-plots").output

    assert with_them.count("<img") == 2
    assert without.count("<img") == 0


def test_bibtex_has_data_sets_and_papers(invoke, folder):
    text = invoke(command, folder, "--bibtex").output

    for key in ("rao2019tape", "xiao2021proteinlm", "sarkisyan2016gfp", "rocklin2017stability"):
        assert f"{{{key}," in text
    assert "alquraishi" not in text
    assert text.count("{") == text.count("}")


def test_what_cannot_be_read_is_in_the_table(invoke, folder):
    (folder / "broken.json").write_text("{")

    content = json.loads(invoke(command, folder, "--format", "json").output)

    assert any("broken.json" in warning for warning in content["warnings"])


def test_unknown_endings_and_places_are_errors(invoke, folder, tmp_path):
    assert isinstance(invoke(command, folder, "-o", tmp_path / "x.pdf").exception, UsageError)
    assert isinstance(invoke(command, tmp_path / "nowhere").exception, RecordError)
    assert not (tmp_path / "x.pdf").exists()
