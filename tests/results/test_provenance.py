"""Provenance is collected once: a run of many tasks asks git for its commit one time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tape_bench import evaluate
from tape_bench.results import provenance


def test_a_run_asks_git_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    provenance._commit.cache_clear()
    asked: list[str] = []
    really = subprocess.run

    def heard(command, *arguments, **options):
        asked.extend(part for part in command if part in ("rev-parse", "status"))
        return really(command, *arguments, **options)

    monkeypatch.setattr(subprocess, "run", heard)
    tasks = ["stability", "fluorescence"]
    records = evaluate("composition", tasks, data="sample", limit=60, out=tmp_path)
    commits = {record.provenance.git_commit for record in records}
    assert len(commits) == 1
    assert sorted(asked) == (["rev-parse", "status"] if commits != {None} else [])
