from __future__ import annotations

import io
import json

import pandas as pd
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


def test_csv_tells_of_each_figure_its_own_data_seeds_and_record(
    invoke, tmp_path, make, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    records = {
        "fluorescence": make("fluorescence", seeds=(0, 1), run_key="1a" * 32),
        "contact": make("contact", data="partial", digest="7c" * 32, run_key="2b" * 32),
    }
    for record in records.values():
        store.write(store.path_of(tmp_path / "results", record), record)

    text = invoke(command, "results", "--format", "csv").output
    table = pd.read_csv(io.StringIO(text), dtype={"seeds": str})

    ours = table[~table.published].set_index("task")
    assert ours.data.to_dict() == {"fluorescence": "official", "contact": "partial"}
    assert ours.seeds.to_dict() == {"fluorescence": "0 1", "contact": "0"}
    for task, record in records.items():
        assert ours.run_key[task] == record.run_key
        assert ours.data_digest[task] == record.task.data.digest
        assert json.loads((tmp_path / ours.record[task]).read_text())["run_key"] == record.run_key
    theirs = table[table.published]
    assert set(theirs.data) == {"published"}
    assert theirs.record.isna().all()
    assert theirs.source.str.contains("README").all()
    small = theirs[(theirs.model == "ProteinLM-200M") & (theirs.task == "contact")]
    assert small.metric.tolist() == ["contact.tape_p_at_l5.batch8"]


@pytest.mark.parametrize("content", [None, "{"])
def test_no_records_of_ones_own_are_told(invoke, tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAPE_BENCH_OUT", raising=False)
    if content:
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "bad.json").write_text(content)
    (tmp_path / "trials").mkdir()

    done = invoke(command)
    told = json.loads(invoke(command, "--format", "json").output)["warnings"]

    text = " ".join(done.output.split())
    assert done.exit_code == 0
    assert "no records of yours in results; these are the published scores" in text
    assert "`tape-bench report trials`" in text
    assert "ProteinLM-3B" in text
    assert any("bad.json" in line for line in told) is bool(content)


def test_with_records_nothing_is_said_of_their_absence(invoke, folder):
    assert "no records of yours" not in invoke(command, folder).output


def test_what_cannot_be_read_is_in_the_table(invoke, folder):
    (folder / "broken.json").write_text("{")

    content = json.loads(invoke(command, folder, "--format", "json").output)

    assert any("broken.json" in warning for warning in content["warnings"])


def test_unknown_endings_and_places_are_errors(invoke, folder, tmp_path):
    assert isinstance(invoke(command, folder, "-o", tmp_path / "x.pdf").exception, UsageError)
    assert isinstance(invoke(command, tmp_path / "nowhere").exception, RecordError)
    assert not (tmp_path / "x.pdf").exists()
