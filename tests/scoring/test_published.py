"""TAPE's and ProteinLM's scores, against goldens and against matrices picked by torch.topk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tape_bench.scoring.metrics import score


@pytest.mark.parametrize("set_", ["clean", "invalid"])
def test_tape_is_that_of_the_reference(golden_metrics, golden_pairs, set_):
    pooled = golden_metrics[f"contact/{set_}/tape_p_at_l5_pooled"]
    each = golden_metrics[f"contact/{set_}/tape_p_at_l5_each"]
    assert score("tape_p_at_l5.pooled", golden_pairs(set_)).value == pytest.approx(pooled)
    assert score("tape_p_at_l5.batch8", golden_pairs(set_)).value == pytest.approx(pooled)
    assert score("tape_p_at_l5.batch1", golden_pairs(set_)).value == pytest.approx(each.mean())


def _picked(probability, label, eligible, k):
    """Labels of the k entries that torch takes from the flattened, masked matrix."""
    masked = torch.as_tensor(probability * eligible, dtype=torch.float32).flatten()
    return label.flatten()[masked.topk(k, sorted=False).indices.numpy()]


_PARTS = {"L": 1, "L2": 2, "L5": 5}
_RANGES = {
    "ge6": (6, 99),
    "short": (6, 11),
    "medium": (12, 23),
    "long": (24, 99),
    "medlong": (12, 99),
}


@pytest.mark.parametrize("set_", ["clean", "invalid"])
def test_picks_from_the_whole_matrix_are_those_of_the_reference(golden_metrics, set_):
    """What the next tests rest on, the picks of invalid pairs included (-5 of 12 is the lowest)."""
    lengths, labels, logits = (
        golden_metrics[f"contact/{set_}/{key}"] for key in ("lens", "labels", "logits")
    )
    shares = []
    for protein, length in enumerate(lengths):
        label, both = labels[protein], torch.as_tensor(logits[protein])
        probability = torch.softmax(both, dim=-1)[..., 1].numpy()
        along = np.arange(len(label))
        apart = along - along[:, None]
        for range_, (first, last) in _RANGES.items():
            eligible = (label != -1) & (apart >= first) & (apart <= last)
            for cut, parts in _PARTS.items():
                taken = golden_metrics[f"contact/{set_}/{range_}/{cut}/tape_k"][protein]
                valid = golden_metrics[f"contact/{set_}/{range_}/{cut}/strict_n"][protein]
                correct = golden_metrics[f"contact/{set_}/{range_}/{cut}/tape_correct"][protein]
                assert taken == length // parts
                picked = _picked(probability, label, eligible, taken)
                # Which of the tied zeros come along is torch's own business, except that with
                # few picks from a large matrix they come from its beginning.
                if taken <= valid or 64 * taken <= label.size:
                    assert picked.sum() == correct
                    shares.append(correct / taken)
    assert set_ == "clean" or -5 / 12 in shares


def _chain(random, length, invalid):
    probability = random.random((length, length))
    label = (random.random((length, length)) < 0.3).astype(int)
    gone = random.random(length) < invalid
    label[gone] = label[:, gone] = -1
    along = np.arange(length)
    apart = along - along[:, None]
    probability, label = np.triu(probability, 1), np.triu(label, 1)
    probability, label = probability + probability.T, label + label.T
    label[np.abs(apart) < 6] = -1
    return probability, label, (label != -1) & (apart >= 6), (label != -1)


@pytest.mark.parametrize("invalid", [0.0, 0.3, 0.7, 0.95, 1.0])
def test_tape_as_its_code_runs_also_where_valid_pairs_run_out(predict, invalid):
    random = np.random.default_rng(int(100 * invalid))
    lengths = [4, *random.integers(13, 60, size=11)]
    chains = [_chain(random, length, invalid) for length in lengths]
    picks = [
        _picked(probability, label, upper, length // 5)
        for length, (probability, label, upper, _) in zip(lengths, chains, strict=True)
    ]
    given_ = predict.pairs(lengths, [c[0] for c in chains], [c[1] for c in chains])
    got = score("tape_p_at_l5.pooled", given_)
    assert got.value == pytest.approx(np.concatenate(picks).mean())
    assert (got.n, got.left_out) == (11, {"fewer than 5 residues": 1})
    batches = [np.concatenate(picks[start : start + 5]).mean() for start in (0, 5, 10)]
    assert score("tape_p_at_l5.batch5", given_).value == pytest.approx(np.mean(batches))
    if invalid == 1.0:
        assert got.value == -1


@pytest.mark.parametrize("invalid", [0.0, 0.3, 0.7, 0.95])
def test_proteinlm_takes_both_triangles_and_reads_invalid_as_no_contact(predict, invalid):
    random = np.random.default_rng(int(100 * invalid) + 1)
    lengths = random.integers(13, 60, size=11)
    chains = [_chain(random, length, invalid) for length in lengths]
    picks = [
        np.maximum(_picked(probability, label, both, length // 5), 0)
        for length, (probability, label, _, both) in zip(lengths, chains, strict=True)
    ]
    given_ = predict.pairs(lengths, [c[0] for c in chains], [c[1] for c in chains])
    got = score("proteinlm_p_at_l5.both_triangles.pooled", given_).value
    assert got == pytest.approx(np.concatenate(picks).mean())


def test_proteinlm_at_l5_is_really_at_l10(predict):
    # Twenty residues: four entries of the matrix are two pairs.
    random = np.random.default_rng(3)
    probability, label, upper, _ = _chain(random, 20, 0.0)
    best_two = np.sort((probability * upper).flatten())[-2:]
    hits = label[np.isin(probability * upper, best_two)].mean()
    got = score(
        "proteinlm_p_at_l5.both_triangles.pooled", predict.pairs([20], [probability], [label])
    )
    assert got.value == pytest.approx(hits)


def test_a_batch_of_tiny_proteins_breaks_tapes_mean_and_is_named(predict):
    flat = [np.zeros((n, n)) for n in (20, 4)]
    given_ = predict.pairs([20, 4], flat, flat)
    got = score("tape_p_at_l5.batch1", given_)
    assert got.value is None
    assert got.reason == "batch 2 has no protein of 5 residues: TAPE divides by zero"
    assert score("tape_p_at_l5.batch2", given_).value == 0
    tiny = predict.pairs([4], flat[1:], flat[1:])
    assert score("tape_p_at_l5.pooled", tiny).reason == (
        "no protein can be scored: 1 with fewer than 5 residues"
    )
