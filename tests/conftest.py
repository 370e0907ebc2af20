"""What all tests share: where the reference material is, and a cache that is never the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["made_records", "small_models"]  # tests/fixtures

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and real data beside the project, where there is one."""
    folder = ROOT.parent / "shared"
    if not (folder / "reference" / "goldens").is_dir():
        pytest.skip("reference numbers and real data (../shared) are not here")
    return folder


@pytest.fixture(autouse=True)
def _places_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Keep every test away from the user's caches, data and settings."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("TAPE_BENCH_CACHE", str(home / "cache"))
    monkeypatch.setenv("TAPE_BENCH_DATA", str(home / "data"))
    monkeypatch.setenv("TAPE_BENCH_OUT", str(home / "results"))
