"""TAPE's heads, with TAPE's weights, give TAPE's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tape_bench.heads.losses import contact_cross_entropy, cross_entropy, squared_error
from tape_bench.heads.mlp import SequenceMLP
from tape_bench.heads.pair import PairProductDifference
from tape_bench.heads.token_conv import TokenConv

TOLERANCE = {"rtol": 0, "atol": 1e-6}


@pytest.fixture(scope="module")
def tape(shared: Path):
    return np.load(shared / "reference/goldens/heads_tape.npz")


def loaded(head, golden, name):
    """The head with the golden's weights, which stand below the name TAPE gives the module."""
    prefix = f"{name}/w/"
    state = {
        key.removeprefix(prefix).partition(".")[2]: torch.from_numpy(np.array(golden[key]))
        for key in golden.files
        if key.startswith(prefix)
    }
    if name == "contact":
        state = {f"predict.{key}": value for key, value in state.items()}
    missing, unexpected = head.load_state_dict(state, strict=False)
    # TAPE's own file lacks the counter that newer batch norms carry.
    assert set(missing) <= {"main.0.num_batches_tracked"}
    assert not unexpected
    return head.double().eval()


def tensor(golden, key):
    return torch.from_numpy(np.array(golden[key]))


def close(found, expected):
    np.testing.assert_allclose(found.detach().numpy(), expected, **TOLERANCE)


def test_value(tape):
    head = loaded(SequenceMLP(16, 1), tape, "value")
    scores = head(tensor(tape, "pooled"))
    close(scores, tape["value/out"])
    summed, count = squared_error(scores, tensor(tape, "value/targets").squeeze(-1))
    close(summed / count, tape["value/loss"])


def test_class(tape):
    head = loaded(SequenceMLP(16, 7), tape, "cls7")
    scores = head(tensor(tape, "pooled"))
    close(scores, tape["cls7/out"])
    summed, count = cross_entropy(scores, tensor(tape, "cls7/targets"))
    close(summed / count, tape["cls7/loss"])


def test_secondary_structure(tape):
    head = loaded(TokenConv(16, 3), tape, "ss")
    scores = head(tensor(tape, "hidden"))
    close(scores, tape["ss/out"])
    summed, count = cross_entropy(scores, tensor(tape, "ss/targets"))
    close(summed / count, tape["ss/loss"])


def test_secondary_structure_with_padding_masked_is_the_protein_alone(tape):
    head = loaded(TokenConv(16, 3), tape, "ss")
    alone = tape["ss/out_row1_unpadded"]
    hidden = tensor(tape, "hidden")
    close(head(hidden[1:2, : alone.shape[1]]), alone)
    # Ends as TAPE has them: the first and last tokens are CLS and SEP.
    lengths = torch.from_numpy(tape["protein_length"]) + 2
    mask = torch.arange(hidden.shape[1]) < lengths[:, None]
    close(head(hidden, mask)[1:2, : alone.shape[1]], alone)


def test_contact(tape):
    head = loaded(PairProductDifference(16), tape, "contact")
    residues = tensor(tape, "hidden")[:, 1:-1]
    close(head.class_logits(residues), tape["contact/out"])
    close(torch.sigmoid(head(residues)), torch.softmax(tensor(tape, "contact/out"), -1)[..., 1])
    summed, count = contact_cross_entropy(head(residues), tensor(tape, "contact/targets"))
    close(summed / count, tape["contact/loss"])


def test_contact_of_one_protein_alone(tape):
    head = loaded(PairProductDifference(16), tape, "contact")
    alone = tape["contact/out_row1_unpadded"]
    residues = tensor(tape, "hidden")[1:2, 1 : 1 + alone.shape[1]]
    close(head.class_logits(residues), alone)
