"""The simulated world has TAPE's layout, obeys its own geometry, and is the same every time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tape_bench.data import simulated
from tape_bench.data.simulated import chain
from tape_bench.data.simulated.biology import AFFINITY, draw
from tape_bench.data.simulated.chain import fold
from tape_bench.data.simulated.elements import architecture, burial_pattern
from tape_bench.data.simulated.fluorescence import Landscape
from tape_bench.errors import UsageError

SPLITS = {
    "secondary_structure": ["train", "valid", "cb513", "ts115", "casp12"],
    "contact": ["train", "valid", "test"],
    "remote_homology": [
        "train",
        "valid",
        "test_fold_holdout",
        "test_superfamily_holdout",
        "test_family_holdout",
    ],
    "fluorescence": ["train", "valid", "test"],
    "stability": ["train", "valid", "test"],
}
World = dict[str, dict[str, list[dict[str, Any]]]]


@pytest.fixture(scope="module")
def world() -> World:
    return {task: simulated.build(task) for task in SPLITS}


def plain(value: Any) -> Any:
    return (value.dtype.str, value.tolist()) if isinstance(value, np.ndarray) else value


def all_records(splits: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [record for records in splits.values() for record in records]


@pytest.mark.parametrize("task", SPLITS)
def test_two_builds_are_identical_and_the_seed_matters(world: World, task: str):
    def content(splits):
        return [
            {name: plain(value) for name, value in record.items()} for record in all_records(splits)
        ]

    assert content(simulated.build(task)) == content(world[task])
    other = {record["primary"] for record in all_records(simulated.build(task, seed=1))}
    assert not other & {record["primary"] for record in all_records(world[task])}


def test_a_build_does_not_depend_on_numpys_global_state(world: World):
    np.random.seed(7)  # noqa: NPY002 - the point is that the old global state is ignored
    again = simulated.build("stability")["train"][0]["primary"]
    assert again == world["stability"]["train"][0]["primary"]


@pytest.mark.parametrize("task", SPLITS)
def test_common_layout(world: World, task: str):
    splits = world[task]
    assert list(splits) == SPLITS[task]
    for record in all_records(splits):
        assert type(record["primary"]) is str
        assert set(record["primary"]) <= set("ACDEFGHIKLMNPQRSTVWY")
        assert type(record["protein_length"]) is int
        assert record["protein_length"] == len(record["primary"])
        assert type(record["id"]) is str
    ids = [record["id"] for record in all_records(splits)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("task", SPLITS)
def test_no_sequence_stands_twice(world: World, task: str):
    sequences = [record["primary"] for record in all_records(world[task])]
    assert len(set(sequences)) == len(sequences)


def test_secondary_structure_labels(world: World):
    letters = "GHIBESTC"
    kinds = ["GHI", "BE", "STC"]
    seen = set()
    for record in all_records(world["secondary_structure"]):
        ss3, ss8 = record["ss3"], record["ss8"]
        assert ss3.dtype == ss8.dtype == np.int32
        assert ss3.shape == ss8.shape == (record["protein_length"],)
        assert all(letters[eight] in kinds[three] for three, eight in zip(ss3, ss8, strict=True))
        seen |= set(ss8.tolist())
    assert seen == set(range(8))


def test_contact_geometry(world: World):
    unseen = 0
    for record in all_records(world["contact"]):
        tertiary, valid = record["tertiary"], record["valid_mask"]
        length = record["protein_length"]
        assert tertiary.dtype == np.float32
        assert tertiary.shape == (length, 3)
        assert valid.dtype == bool
        assert valid.shape == (length,)
        unseen += int((~valid).sum())
        steps = np.linalg.norm(np.diff(tertiary, axis=0), axis=1)[valid[1:] & valid[:-1]]
        np.testing.assert_allclose(steps, 3.8, atol=0.005)
        places = tertiary[valid].astype(np.float64)
        apart = np.linalg.norm(places[:, None] - places, axis=-1)
        number = np.flatnonzero(valid)
        assert apart[np.abs(number[:, None] - number) > 1].min() > 3.99
    residues = sum(record["protein_length"] for record in all_records(world["contact"]))
    assert 0 < unseen < 0.05 * residues


def test_helices_and_strands_have_their_rise():
    # 1.5 and 3.3 Angstrom a residue, as in textbooks.
    rng = np.random.Generator(np.random.PCG64(3))
    for state, rise in ((1, 1.5), (4, 3.3)):
        places = fold(rng, np.array([7, 7] + [state] * 18))[5:]
        # Over two whole turns of a helix the way along the axis is all that remains.
        assert np.linalg.norm(places[7] - places[0]) / 7 == pytest.approx(rise, abs=0.15)


def test_chains_are_more_compact_than_blind_walks(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.Generator(np.random.PCG64(2))
    states = [architecture(rng, 80, 0.5) for _ in range(15)]

    def radius() -> float:
        return float(np.mean([np.sqrt(fold(rng, ss8).var(axis=0).sum()) for ss8 in states]))

    chosen = radius()
    monkeypatch.setattr(chain, "_CANDIDATES", 1)
    assert chosen < 0.8 * radius()


def test_homology_holdouts_hold_out_what_they_say(world: World):
    splits = world["remote_homology"]

    def groups(split: str, level: str) -> set[int]:
        return {record[f"{level}_label"] for record in splits[split]}

    folds = groups("train", "fold")
    assert min(folds) == 0
    assert max(folds) == 1194
    for split in splits:
        assert groups(split, "fold") == folds
    train_superfamilies, train_families = groups("train", "superfamily"), groups("train", "family")
    assert not groups("test_fold_holdout", "superfamily") & train_superfamilies
    assert groups("test_superfamily_holdout", "superfamily") <= train_superfamilies
    assert not groups("test_superfamily_holdout", "family") & train_families
    assert groups("test_family_holdout", "family") <= train_families
    assert all(type(record["fold_label"]) is int for record in all_records(splits))


def test_fluorescence_is_bimodal_and_test_goes_further(world: World):
    splits = world["fluorescence"]
    bright, mutations = {}, {}
    for split, records in splits.items():
        values = np.array([record["log_fluorescence"] for record in records])
        assert values.dtype == np.float32
        assert values.shape == (len(records), 1)
        assert values.min() > 0.8
        assert values.max() < 4.3
        bright[split] = (values > 2.5).mean()
        between = ((values > 2.2) & (values < 2.9)).mean()
        assert between < min(bright[split], 1 - bright[split])
        mutations[split] = {record["num_mutations"] for record in records}
    assert all(0.1 < share < 0.9 for share in bright.values())
    assert bright["test"] < bright["train"] - 0.2
    assert mutations["train"] == mutations["valid"] == {1, 2, 3}
    assert min(mutations["test"]) == 4


def test_num_mutations_counts_differences_from_one_parent(world: World):
    records = all_records(world["fluorescence"])
    letters = np.array([list(record["primary"]) for record in records])
    parent = []
    for column in letters.T:
        residues, counts = np.unique(column, return_counts=True)
        parent.append(residues[counts.argmax()])
    differences = (letters != np.array(parent)).sum(axis=1)
    assert differences.tolist() == [record["num_mutations"] for record in records]


def test_the_landscape_has_epistasis_where_residues_touch():
    landscape = Landscape(np.zeros((4, 20)), (np.array([0]), np.array([3])))
    cysteine, lysine, glutamate = 1, 8, 3
    sequences = np.zeros((5, 4), np.int64)
    sequences[1, 0] = lysine
    sequences[2, 3] = glutamate
    sequences[3, [0, 3]] = lysine, glutamate
    sequences[4, [1, 2]] = cysteine
    base, first, second, both, apart = landscape.stability(sequences)
    assert both - base > (first - base) + (second - base)
    assert apart == base


def test_stability_designs_and_neighbourhoods(world: World):
    splits = world["stability"]
    for record in all_records(splits):
        assert record["stability_score"].dtype == np.float32
        assert record["stability_score"].shape == (1,)
        assert type(record["topology"]) is type(record["parent"]) is bytes
        assert 40 <= record["protein_length"] <= 50
    topologies = {b"HHH", b"EHEE", b"HEEH", b"EEHEE"}
    assert all(
        {record["topology"] for record in records} == topologies for records in splits.values()
    )
    parents: dict[bytes, list[str]] = {}
    for record in splits["test"]:
        parents.setdefault(record["parent"], []).append(record["primary"])
    for mutants in parents.values():
        letters = np.array([list(mutant) for mutant in mutants])
        differences = (letters[:, None] != letters).sum(axis=-1)
        assert differences.max() <= 2
    assert not set(parents) & {record["parent"] for record in splits["train"]}


def test_a_sixth_task_is_refused():
    with pytest.raises(UsageError, match="no data for task 'solubility'") as error:
        simulated.build("solubility")
    assert "secondary_structure, contact, remote_homology" in str(error.value)


def test_architecture_has_the_length_asked_for_and_no_element_without_a_loop():
    rng = np.random.Generator(np.random.PCG64(1))
    for length in (1, 17, 200):
        ss8 = architecture(rng, length, 0.5)
        assert len(ss8) == length
        ss3 = np.array([0, 0, 0, 1, 1, 2, 2, 2])[ss8]
        changes = ss3[1:] != ss3[:-1]
        assert all((ss3[1:] == 2)[changes] | (ss3[:-1] == 2)[changes])


def test_burial_alternates_in_a_strand_and_turns_with_a_helix():
    rng = np.random.Generator(np.random.PCG64(1))
    pattern = burial_pattern(rng, np.array([7, 7] + [4] * 6 + [7] + [1] * 19))
    np.testing.assert_allclose(pattern[[0, 1, 8]], -0.5)
    np.testing.assert_allclose(pattern[2:7] * pattern[3:8], -1.0)
    helix = pattern[9:]
    # Five turns of 3.6 residues bring a helix back to where it began.
    assert helix[18] == pytest.approx(helix[0])


def test_residues_are_drawn_with_the_odds_given():
    rng = np.random.Generator(np.random.PCG64(1))
    wanted = np.full((20000, 20), -np.inf)
    wanted[:, [0, 9]] = 0.0
    drawn = np.bincount(draw(rng, wanted), minlength=20)
    # Alanine and leucine are 8.0 and 9.2 % of residues.
    assert drawn[0] / drawn.sum() == pytest.approx(8.0 / 17.2, abs=0.02)
    assert drawn[0] + drawn[9] == 20000


def test_affinity_is_mutual_and_opposite_charges_attract():
    lysine, glutamate, cysteine = 8, 3, 1
    np.testing.assert_array_equal(AFFINITY, AFFINITY.T)
    assert AFFINITY[lysine, glutamate] > AFFINITY[lysine, lysine]
    assert AFFINITY[cysteine, cysteine] == AFFINITY.max()
