"""However many processes meet an error, it is told once; and an error of one is never lost."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from torch import distributed

from tape_bench.errors import ModelError, PeerLostError
from tape_bench.parallel import telling

MINE, OURS = ModelError("mine"), ModelError("ours")
LOST = PeerLostError("lost")


@pytest.fixture(autouse=True)
def _nobody_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(telling.time, "sleep", lambda _: None)
    monkeypatch.setattr(telling, "_LINGER", 0.0)
    monkeypatch.setattr(telling, "_met", [])


def told(errors: list[tuple[int, Exception]], store: object) -> list[int]:
    """Return the ranks that tell, where these have these errors one after the other."""
    speak = []
    for rank, error in errors:
        telling.share(SimpleNamespace(rank=rank, size=3, store=store, holds_store=rank == 0))
        if telling.is_to_be_told(error):
            speak.append(rank)
    return speak


@pytest.mark.parametrize(
    ("errors", "ranks"),
    [
        ([(0, OURS), (1, OURS), (2, OURS)], [0]),
        ([(2, OURS), (0, OURS)], [2]),
        ([(1, MINE), (0, LOST), (2, LOST)], [1]),
        ([(1, MINE), (2, OURS)], [1, 2]),
        ([(2, LOST), (0, LOST)], [2]),
    ],
)
def test_one_tells(errors, ranks):
    assert told(errors, distributed.HashStore()) == ranks


@dataclass
class Gone:
    """The store of a process that has ended."""

    def add(self, key: str, by: int) -> int:
        raise RuntimeError("connection reset")


def test_when_the_first_ends_without_a_word_another_tells_of_it():
    assert told([(1, LOST), (2, LOST)], Gone()) == [1]
    assert told([(2, MINE)], Gone()) == [2]


def test_before_they_have_met_the_first_speaks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert not telling.is_to_be_told(OURS)
    # That others did not come is no fault of all.
    assert telling.is_to_be_told(LOST)
    monkeypatch.setenv("RANK", "0")
    assert telling.is_to_be_told(OURS)
