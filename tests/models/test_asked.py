"""What is asked of a model is refused alike by every one: devices, precisions, bare strings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tape_bench import load_model
from tape_bench.errors import ModelError, TapeBenchError, UsageError
from tape_bench.models.embedder import check_request

OWN = """
import numpy as np
from tape_bench.models.embedder import Identity

class Plain:
    identity = Identity(
        spec="python", name="mine", revision="1", weights_digest=None, parameters=0,
        hidden_size=1, longest_input=None, pretraining=(),
    )

    def embed(self, sequences, pool="residues"):
        return [np.ones((len(s), 1), np.float32) for s in sequences]

class Told(Plain):
    def __init__(self, device="cpu", dtype=None):
        self.told = device, dtype

class Anything(Plain):
    def __init__(self, **options):
        self.told = options.get("device"), options.get("dtype")
"""

SPECS = ["onehot", "composition", "positional", "random:proteinlm-200m", "python:{mine}:Plain",
         "python:{mine}:Told", "proteinlm:{mine}", "tape_bert:{mine}"]  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    return path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)


@pytest.mark.parametrize("spec", SPECS)
def test_a_device_that_is_not_there_is_refused(spec: str, mine: Path, no_gpu: None):
    for device, says in (("cuda", "no device 'cuda'"), ("cuda:3", "no device"), ("tpu", "tpu")):
        with pytest.raises(ModelError, match=says):
            load_model(spec.format(mine=mine), device=device)


@pytest.mark.parametrize("spec", SPECS)
def test_a_precision_that_is_none_or_means_nothing_is_refused(spec: str, mine: Path):
    with pytest.raises(UsageError, match=r"no option 'dtype'|no dtype named 'fp16'"):
        load_model(spec.format(mine=mine), dtype="fp16")


@pytest.mark.parametrize("control", ["onehot", "composition", "positional"])
def test_controls_compute_in_no_precision_but_run_anywhere(control: str):
    with pytest.raises(UsageError, match="no option 'dtype'"):
        load_model(control, dtype="float16")
    assert load_model(control, device="cpu").identity.name == control


@pytest.mark.parametrize("name", ["Told", "Anything"])
def test_a_class_is_told_device_and_dtype_if_it_can_be(name: str, mine: Path):
    told = load_model(f"python:{mine}:{name}", device="cpu", dtype="bfloat16")
    assert told.told == ("cpu", "bfloat16")  # type: ignore[attr-defined]


def test_a_class_that_cannot_be_told_is_not_ignored(mine: Path, no_gpu: None, monkeypatch):
    spec = f"python:{mine}:Plain"
    with pytest.raises(UsageError, match="Plain cannot be told its dtype") as caught:
        load_model(spec, dtype="float16", device="cpu")
    assert "def __init__(self, dtype=None)" in str(caught.value)
    assert load_model(spec, device="cpu")  # where else, without a GPU?
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(UsageError, match="cannot be told its device"):
        load_model(spec, device="cpu")


@pytest.mark.parametrize("spec", ["onehot", "composition", "positional"])
def test_one_sequence_is_no_list_of_them(spec: str):
    model = load_model(spec)
    with pytest.raises(UsageError, match="must be a list") as caught:
        model.embed("MKTAYIAKQR")
    assert "embed(['MKTAYIAKQR'])" in str(caught.value)
    with pytest.raises(UsageError, match="did you mean mean"):
        model.embed(["MKT"], pool="means")  # type: ignore[arg-type]


def test_networks_refuse_a_bare_sequence_before_they_load():
    # 200 million weights would be drawn by a request that is answered.
    with pytest.raises(UsageError, match="must be a list"):
        load_model("random:proteinlm-200m").embed("MKT")


def test_tape_bert_refuses_a_bare_sequence(tape_folder: str):
    with pytest.raises(TapeBenchError, match="must be a list"):
        load_model(f"tape_bert:{tape_folder}").embed("MKT")


def test_a_tuple_of_sequences_is_fine():
    check_request(("MKT", "AC"), "mean")
