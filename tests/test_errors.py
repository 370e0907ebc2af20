"""Errors say what is wrong, where, and what to do."""

from __future__ import annotations

import pickle

import pytest

from tape_bench.errors import DataError, NotComparableError, TapeBenchError, unknown_name


def test_the_message_has_all_three_parts():
    error = DataError("a label is out of range", where="train.lmdb, record 7", fix="repair it")
    lines = str(error).splitlines()
    assert lines[0] == "a label is out of range"
    assert "train.lmdb, record 7" in lines[1]
    assert "repair it" in lines[2]


def test_an_error_survives_the_way_between_processes():
    error = pickle.loads(pickle.dumps(DataError("x", where="y", fix="z")))
    assert (type(error), error.what, error.where, error.fix) == (DataError, "x", "y", "z")


@pytest.mark.parametrize(("error", "code"), [(TapeBenchError, 2), (NotComparableError, 3)])
def test_exit_codes(error: type[TapeBenchError], code: int):
    assert error("x").exit_code == code


def test_the_nearest_name_is_suggested():
    message = str(unknown_name("task", "flourescence", ["fluorescence", "stability"]))
    assert "did you mean fluorescence?" in message
    assert "known tasks: fluorescence, stability" in message
