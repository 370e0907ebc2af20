"""Where things live, and what is said where a user has no home."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from tape_bench import paths
from tape_bench.errors import UsageError


@pytest.mark.parametrize(
    ("place", "variable", "asked"),
    [(paths.cache, "TAPE_BENCH_CACHE", "user_cache_dir"),
     (paths.data, "TAPE_BENCH_DATA", "user_data_dir")],
)  # fmt: skip
def test_a_user_without_a_home_is_told_what_to_set(place, variable, asked, monkeypatch):
    def homeless(name: str) -> str:
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv(variable)
    monkeypatch.setattr(platformdirs, asked, homeless)
    with pytest.raises(UsageError, match="no home folder") as caught:
        place()
    assert f"set HOME or {variable}" in str(caught.value)


def test_the_home_of_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TAPE_BENCH_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(UsageError, match="~nobody-of-this-name/cache"):
        paths.cache()


def test_trials_lie_beside_results_unless_a_place_is_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TAPE_BENCH_OUT")
    assert (paths.results(), paths.trials()) == (Path("results"), Path("trials"))
    monkeypatch.setenv("TAPE_BENCH_OUT", "here")
    assert paths.results() == paths.trials() == Path("here")
