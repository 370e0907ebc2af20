"""The controls say what they claim, and refuse what they cannot say."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tape_bench.data.vocabulary import LETTERS
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.controls import composition, onehot, positional
from tape_bench.models.embedder import Embedder

CONTROLS = [onehot.load, composition.load, positional.load]
sequences = st.text(alphabet=LETTERS, min_size=1, max_size=60)


@pytest.mark.parametrize("load", CONTROLS)
def test_a_control_is_an_embedder_that_has_seen_nothing(load):
    model = load(None, device="cpu")
    assert isinstance(model, Embedder)
    assert model.identity.control
    assert model.identity.pretraining == ()
    assert model.identity.weights_digest is None
    residues, mean = model.embed(["MKV"])[0], model.embed(["MKV"], "mean")[0]
    assert residues.shape == (3, model.identity.hidden_size)
    assert mean.shape == (model.identity.hidden_size,)
    assert residues.dtype == mean.dtype == np.float32


def test_one_hot_has_a_one_at_the_letter():
    (found,) = onehot.load().embed(["AZC"])
    expected = np.zeros((3, 25))
    expected[0, 0] = expected[1, 24] = expected[2, 2] = 1
    np.testing.assert_array_equal(found, expected)


def test_pooled_one_hot_is_the_share_of_each_letter():
    (found,) = onehot.load().embed(["AACD"], "mean")
    shares = dict(zip(LETTERS, found, strict=True))
    assert {letter: share for letter, share in shares.items() if share} == {
        "A": 0.5,
        "C": 0.25,
        "D": 0.25,
    }


@given(sequences)
def test_composition_counts_the_letters_of_each_window(sequence):
    (found,) = composition.load().embed([sequence])
    for place in range(len(sequence)):
        window = sequence[max(place - 7, 0) : place + 8]
        expected = [window.count(letter) / len(window) for letter in LETTERS]
        np.testing.assert_allclose(found[place, :25], expected, atol=1e-6)
    np.testing.assert_allclose(found[:, 25], math.log(len(sequence)), rtol=1e-6)


@given(sequences)
def test_pooled_composition_counts_the_letters_of_the_protein(sequence):
    (found,) = composition.load().embed([sequence], "mean")
    expected = [sequence.count(letter) / len(sequence) for letter in LETTERS]
    np.testing.assert_allclose(found[:25], expected, atol=1e-6)
    assert found[25] == pytest.approx(math.log(len(sequence)))


def test_positional_serves_values_of_proteins_by_one_head():
    identity = positional.load().identity
    assert identity.kinds == ("sequence_value",)
    assert identity.only_head == "aligned_ridge"


@pytest.mark.parametrize("load", CONTROLS)
def test_there_is_no_first_token(load):
    with pytest.raises(ModelError, match="first token"):
        load().embed(["MKV"], "first")


@pytest.mark.parametrize("load", CONTROLS)
@pytest.mark.parametrize("sequence", ["", "MKJ", "mkv", "MK*", "M-K", "M K", "MKé", "MK中"])
def test_what_is_no_protein_is_refused(load, sequence):
    with pytest.raises(ModelError):
        load().embed(["MKV", sequence])


@pytest.mark.parametrize("load", CONTROLS)
def test_an_argument_is_refused(load):
    with pytest.raises(UsageError, match="takes no argument"):
        load("large")


def test_controls_do_not_wait_for_torch():
    code = (
        "import sys\n"
        "from tape_bench.models.controls import composition, onehot, positional\n"
        "onehot.load().embed(['MKV'])\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
