from __future__ import annotations

import pytest

from tape_bench.cli.check import command
from tape_bench.errors import UsageError
from tape_bench.results import store


@pytest.fixture
def folders(tmp_path, make):
    def fill(**changes):
        for side, extra in (("reference", {}), ("new", changes)):
            record = make(**extra)
            store.write(store.path_of(tmp_path / side, record), record)
        return tmp_path / "new", "--against", tmp_path / "reference"

    return fill


@pytest.mark.parametrize(
    ("changes", "code"),
    [({}, 0), ({"value": 0.1}, 1), ({"protocol": "finetune"}, 3), ({"status": "failed"}, 4)],
)
def test_exit_codes(invoke, folders, changes, code):
    assert invoke(command, *folders(**changes)).exit_code == code


def test_usage_is_two(invoke, folders):
    error = invoke(command, *folders(), "--tolerance", "much").exception

    assert isinstance(error, UsageError)
    assert error.exit_code == 2


def test_missing_folders_are_incomplete(invoke, folders, tmp_path):
    new, against, reference = folders()

    assert invoke(command, tmp_path / "none", against, reference).exit_code == 4
    assert invoke(command, new, against, tmp_path / "none").exit_code == 4


def test_reports_are_written_and_the_step_summary_is_appended_to(
    invoke, folders, tmp_path, monkeypatch
):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    files = tmp_path / "junit.xml", tmp_path / "check.md"

    invoke(command, *folders(value=0.1), "--junit", files[0], "--markdown", files[1])

    assert "<failure" in files[0].read_text()
    assert "REGRESSION" in files[1].read_text()
    assert summary.read_text() == "before\n" + files[1].read_text()


def test_the_reference_changes_on_purpose_only(invoke, folders, tmp_path, monkeypatch):
    arguments = folders(value=0.1)
    monkeypatch.setenv("TAPE_BENCH_UPDATE", "1")

    assert invoke(command, *arguments).exit_code == 1
    assert invoke(command, *arguments, "--update").exit_code == 0
    assert invoke(command, *arguments).exit_code == 0
