"""A right pipeline learns the simulated world, a broken one does not: seen with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from tape_bench.data.simulated import build

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def one_hot(sequence: str) -> np.ndarray:
    return np.eye(len(LETTERS))[[LETTERS.index(letter) for letter in sequence]]


def windows(sequence: str, reach: int = 3) -> np.ndarray:
    padded = np.pad(one_hot(sequence), ((reach, reach), (0, 0)))
    return np.hstack([padded[start : start + len(sequence)] for start in range(2 * reach + 1)])


def compositions(records: list[dict]) -> np.ndarray:
    return np.array([one_hot(record["primary"]).mean(axis=0) for record in records])


def shuffled(values: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).permutation(values)


class TestSecondaryStructure:
    @pytest.fixture(scope="class")
    @staticmethod
    def splits():
        return build("secondary_structure")

    @staticmethod
    def accuracies(splits, states: str, shifts: list[int]) -> list[float]:
        """Accuracy on cb513 with its labels moved along the chain; the majority class, last."""
        train, test = splits["train"][:200], splits["cb513"]
        labels = np.concatenate([record[states] for record in train])
        model = RidgeClassifier().fit(np.vstack([windows(r["primary"]) for r in train]), labels)
        predicted = model.predict(np.vstack([windows(record["primary"]) for record in test]))
        truths = [np.concatenate([np.roll(r[states], shift) for r in test]) for shift in shifts]
        majority = np.bincount(truths[0]).max() / len(predicted)
        return [(predicted == truth).mean() for truth in truths] + [majority]

    def test_a_window_beats_the_majority_class(self, splits):
        three, three_majority = self.accuracies(splits, "ss3", [0])
        eight, eight_majority = self.accuracies(splits, "ss8", [0])
        assert three > three_majority + 0.25
        assert eight > eight_majority + 0.12

    def test_labels_off_by_residues_lose_it(self, splits):
        right, by_one, by_many, majority = self.accuracies(splits, "ss3", [0, 1, 20])
        assert by_one < right - 0.03
        assert by_many < majority + 0.1


class TestContact:
    @pytest.fixture(scope="class")
    @staticmethod
    def splits():
        return build("contact")

    @staticmethod
    def pairs(record):
        first, second = np.triu_indices(record["protein_length"], 6)
        valid = record["valid_mask"][first] & record["valid_mask"][second]
        first, second = first[valid], second[valid]
        places = record["tertiary"].astype(np.float64)
        return first, second, np.linalg.norm(places[first] - places[second], axis=1) < 8

    def precision(self, splits, shift: int = 0) -> tuple[float, float]:
        """Precision at L/5 on test of the frequencies of residue pairs in train; base rate."""
        contacts, total = np.zeros((20, 20)), np.zeros((20, 20))
        for record in splits["train"]:
            residues = np.array([LETTERS.index(letter) for letter in record["primary"]])
            first, second, touching = self.pairs(record)
            for one, other in ((first, second), (second, first)):
                np.add.at(contacts, (residues[one], residues[other]), touching)
                np.add.at(total, (residues[one], residues[other]), 1)
        base = contacts.sum() / total.sum()
        odds = (contacts + 5 * base) / (total + 5)
        found, rates = [], []
        for record in splits["test"]:
            residues = np.array([LETTERS.index(letter) for letter in record["primary"]])
            residues = np.roll(residues, shift)
            first, second, touching = self.pairs(record)
            best = np.argsort(-odds[residues[first], residues[second]], kind="stable")
            found.append(touching[best[: record["protein_length"] // 5]].mean())
            rates.append(touching.mean())
        return float(np.mean(found)), float(np.mean(rates))

    def test_pair_frequencies_beat_the_base_rate(self, splits):
        precision, base = self.precision(splits)
        assert 0.015 < base < 0.06
        assert precision > 3 * base

    def test_coordinates_of_other_residues_lose_it(self, splits):
        assert self.precision(splits, shift=2)[0] < 0.6 * self.precision(splits)[0]


class TestRemoteHomology:
    @pytest.fixture(scope="class")
    @staticmethod
    def splits():
        return build("remote_homology")

    @staticmethod
    def accuracies(splits, labels_of) -> list[float]:
        """Accuracy of the neighbour nearest in composition: fold, superfamily, family holdout."""
        labels = np.array([record["fold_label"] for record in splits["train"]])
        model = KNeighborsClassifier(1).fit(compositions(splits["train"]), labels_of(labels))
        return [
            model.score(compositions(splits[split]), [r["fold_label"] for r in splits[split]])
            for split in (
                "test_fold_holdout",
                "test_superfamily_holdout",
                "test_family_holdout",
            )
        ]

    def test_the_nearer_the_relatives_the_easier(self, splits):
        fold, superfamily, family = self.accuracies(splits, lambda labels: labels)
        chance = 1 / len({record["fold_label"] for record in splits["train"]})
        assert 2 * chance < fold < superfamily < family

    def test_shuffled_labels_fall_to_chance(self, splits):
        assert max(self.accuracies(splits, shuffled)) < 0.1


def positions(records: list[dict]) -> np.ndarray:
    aligned = np.zeros((len(records), max(len(record["primary"]) for record in records), 20))
    for row, record in zip(aligned, records, strict=True):
        row[: len(record["primary"])] = one_hot(record["primary"])
    return aligned.reshape(len(records), -1)


class TestValues:
    @pytest.fixture(scope="class", params=["fluorescence", "stability"])
    @staticmethod
    def data(request):
        """Records and values of train, then of test."""
        field = {"fluorescence": "log_fluorescence", "stability": "stability_score"}[request.param]
        splits = build(request.param)
        train, test = splits["train"], splits["test"]
        return train, [r[field][0] for r in train], test, [r[field][0] for r in test]

    @staticmethod
    def correlation(data, features, strength: float, labels_of=np.array) -> float:
        """Spearman correlation on test of a ridge regression on train."""
        train, train_values, test, test_values = data
        model = Ridge(alpha=strength).fit(features(train), labels_of(train_values))
        return float(spearmanr(model.predict(features(test)), test_values).statistic)

    def test_positions_rank_the_test_set_better_than_composition(self, data):
        by_position = self.correlation(data, positions, 5.0)
        by_composition = self.correlation(data, compositions, 1e-3)
        assert by_position > 0.5
        assert 0.15 < by_composition < by_position

    def test_shuffled_values_rank_nothing(self, data):
        assert abs(self.correlation(data, positions, 5.0, shuffled)) < 0.2
