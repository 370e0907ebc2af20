"""Coordinates are looked at before they are believed: every stand-in for no atom, every unit."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.data.coordinates import believed
from tape_bench.data.examples import load_task
from tape_bench.data.records import check
from tape_bench.errors import DataError
from tape_bench.scoring.contacts import contact_labels

Maker = Callable[..., Any]

LENGTH = 40
GONE = {
    "first": [0],
    "last": [39],
    "one": [17],
    "ends": [0, 39],
    "apart": [5, 21, 30],
    "run": list(range(12)),
    "most": list(range(8, 36)),
}
STAND_INS: dict[str, Any] = {
    "zeros": lambda places, gone: 0.0,
    "minus zero": lambda places, gone: [0.0, -0.0, 0.0],
    "-1": lambda places, gone: -1.0,
    "-999": lambda places, gone: -999.0,
    "9999.999": lambda places, gone: 9999.999,
    "1e6": lambda places, gone: 1e6,
    "1e30": lambda places, gone: 1e30,
    "NaN": lambda places, gone: np.nan,
}


def chain(seed: int = 0, length: int = LENGTH, away: float = 30.0) -> np.ndarray:
    """A walk in steps of 3.8 Angstrom that keeps its direction for a while, off the origin."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(length, 3))
    for place in range(1, length):
        steps[place] += steps[place - 1]
    steps *= 3.8 / np.linalg.norm(steps, axis=1, keepdims=True)
    return (steps.cumsum(axis=0) + away).astype(np.float32)


def masked(places: np.ndarray, gone: list[int]) -> np.ndarray:
    honest = places.copy()
    honest[gone] = np.nan
    return honest


@pytest.mark.parametrize("stand_in", STAND_INS)
@pytest.mark.parametrize("gone", GONE)
@pytest.mark.parametrize("mask", ["absent", "all true", "right"])
def test_what_stands_in_for_no_atom_is_none(
    stand_in: str, gone: str, mask: str, make_card: Maker
) -> None:
    expected = masked(chain(), GONE[gone])
    given = chain()
    given[GONE[gone]] = STAND_INS[stand_in](given, GONE[gone])
    record = {"id": "p", "primary": "A" * LENGTH, "tertiary": given}
    if mask != "absent":
        record["valid_mask"] = np.ones(LENGTH, bool)
    if mask == "right":
        record["valid_mask"][GONE[gone]] = False
    found = check(record, make_card("residue_pair"), "here")
    np.testing.assert_array_equal(found.fields["tertiary"], expected)
    np.testing.assert_array_equal(contact_labels(found.fields["tertiary"].astype(float)),
                                  contact_labels(expected.astype(float)))  # fmt: skip
    assert found.disbelieved is not None
    told = mask == "all true" or (mask == "absent" and stand_in != "NaN")
    assert np.flatnonzero(found.disbelieved).tolist() == (GONE[gone] if told else [])


def test_any_place_that_several_share_is_no_atoms() -> None:
    """A point of the user's own; and the residue before, repeated, with which that one goes too."""
    places = chain()
    places[[3, 4, 20]] = [12.5, -3.25, 40.0]
    places[31:34] = places[30]
    found, disbelieved = believed(places, np.ones(LENGTH, bool), "here")
    assert np.flatnonzero(disbelieved).tolist() == [3, 4, 20, 30, 31, 32, 33]
    np.testing.assert_array_equal(found, masked(chain(), [3, 4, 20, 30, 31, 32, 33]))


def test_one_place_outside_the_chain_is_no_atoms_whatever_the_figures() -> None:
    places = chain()
    places[17] = [12.5, -31.25, 140.0]
    _, disbelieved = believed(places, np.ones(LENGTH, bool), "here")
    assert np.flatnonzero(disbelieved).tolist() == [17]


def test_a_record_of_one_point_has_no_atom() -> None:
    found, disbelieved = believed(np.full((20, 3), 7.5, np.float32), np.ones(20, bool), "here")
    assert np.isnan(found).all()
    assert disbelieved.all()


@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 60),
    away=st.sampled_from([0.0, 30.0]),
    gone=st.sets(st.integers(0, 59)),
    data=st.data(),
)
def test_an_honest_record_is_left_as_it_is(
    seed: int, length: int, away: float, gone: set[int], data: st.DataObject
) -> None:
    """Wherever atoms lack, and wherever the chain breaks off and goes on elsewhere."""
    places = chain(seed, length, away)
    broken = data.draw(st.integers(0, length), label="broken")
    places[broken:] += np.float32(data.draw(st.sampled_from([0.0, 25.0, 80.0]), label="by"))
    valid = ~np.isin(np.arange(length), list(gone))
    found, disbelieved = believed(places, valid, "here")
    assert not disbelieved.any()
    np.testing.assert_array_equal(found[valid], places[valid])
    assert np.isnan(found[~valid]).all()


def test_a_chain_may_begin_at_the_origin() -> None:
    places = chain() - chain()[0]
    _, disbelieved = believed(places, np.ones(LENGTH, bool), "here")
    assert not disbelieved.any()


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (0.1, "0.38 apart .* in nanometres, not in Angstrom[^$]*by 10$"),
        (100.0, "380 apart .* in picometres, not in Angstrom[^$]*by 0.01$"),
        (1 / 0.529177, "7.18 apart .* in Bohr radii, not in Angstrom[^$]*by 0.529177$"),
        (0.3, "1.14 apart .* coordinates are not in Angstrom[^$]*C-alpha atom, in Angstrom$"),
        (1.45, "5.51 apart .* coordinates are not in Angstrom"),  # C-beta atoms
        (1e-10, "3.8e-10 apart .* coordinates are not in Angstrom"),
    ],
)
@pytest.mark.parametrize("gone", GONE)
def test_another_unit_is_refused_by_name(
    factor: float, told: str, gone: str, make_card: Maker
) -> None:
    places = chain()
    places[GONE[gone]] = 0.0
    record = {"id": "2ABC_1_A", "primary": "A" * LENGTH, "tertiary": places * factor}
    with pytest.raises(DataError, match=told) as raised:
        check(record, make_card("residue_pair"), "toy_train.lmdb, record 7")
    assert raised.value.where == "toy_train.lmdb, record 7 (2ABC_1_A)"


def test_a_few_steps_decide_nothing() -> None:
    """Across a cis bond it is 2.9 Angstrom; two residues say nothing of a data set."""
    places = np.array([[0, 0, 0], [2.0, 0, 0]], np.float32)
    found, _ = believed(places, np.ones(2, bool), "here")
    np.testing.assert_array_equal(found, places)


@pytest.mark.parametrize("stand_in", ["zeros", "-999", "NaN"])
def test_a_mask_the_wrong_way_round_is_refused(stand_in: str, make_card: Maker) -> None:
    places = chain()
    places[:12] = STAND_INS[stand_in](places, [])
    record = {"id": "p", "primary": "A" * LENGTH, "tertiary": places}
    record["valid_mask"] = np.arange(LENGTH) < 12
    with pytest.raises(DataError, match=r"valid_mask is the wrong way round[^$]*here \(p\)"):
        check(record, make_card("residue_pair"), "here")


@pytest.mark.parametrize(
    "mask",
    [
        ["True"] * LENGTH,
        ["1"] * LENGTH,
        "+" * LENGTH,
        [None] * LENGTH,
        [2] * LENGTH,
        [np.nan] * LENGTH,
        [[True]] * LENGTH,
    ],
)
def test_a_mask_that_is_none_is_refused(mask: Any, make_card: Maker) -> None:
    record = {"id": "p", "primary": "A" * LENGTH, "tertiary": chain(), "valid_mask": mask}
    with pytest.raises(DataError, match=r"valid_mask[^$]*here \(p\)"):
        check(record, make_card("residue_pair"), "here")


def test_what_is_not_believed_is_counted_and_told_each_time(
    make_card: Maker, data_root: Maker
) -> None:
    """In the record of the run, and in a warning; from the column cache, too."""
    places = chain()
    places[:3] = 0.0
    odd = {"id": "odd", "primary": "A" * LENGTH, "tertiary": places}
    fair = {"id": "fair", "primary": "C" * LENGTH, "tertiary": chain()}
    honest = odd | {"valid_mask": np.arange(LENGTH) >= 3}
    card = make_card("residue_pair")
    root = data_root("residue_pair", test=[fair, odd, odd | {"id": "another"}])
    for _ in range(2):
        with pytest.warns(UserWarning, match="6 residues of 2 of 3 proteins") as told:
            split = load_task(card, root)["test"]
        assert "split test; the first is odd, residue 1" in str(told[0].message)
        assert split.shortened == {"residues whose coordinates are no atom's: not scored": 2}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = load_task(card, root, limit=1)["test"]
        assert not one.shortened
    np.testing.assert_array_equal(
        split[1].targets["contact"],
        check(honest, card, "here").fields["tertiary"].astype(float),
    )


def test_honest_records_have_the_digest_they_always_had(make_card: Maker, data_root: Maker) -> None:
    """Nothing is kept beside records that are all believed."""
    record = {"id": "p", "primary": "A" * LENGTH, "tertiary": chain()}
    split = load_task(make_card("residue_pair"), data_root("residue_pair", test=[record]))["test"]
    assert list(split.columns.fields) == ["tertiary"]
