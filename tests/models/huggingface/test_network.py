"""Weights are the file's, all of them, and in the precision asked for."""

from __future__ import annotations

import json
from pathlib import Path

import hub_models
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tape_bench.errors import CheckpointError, ModelError
from tape_bench.models.huggingface.loading import load

PROTEIN = "MKTAYIAKQRQISFVK"


@pytest.fixture(params=["packed", "transformers"], autouse=True)
def _engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every test look at both engines."""
    monkeypatch.setitem(load.__kwdefaults__, "engine", request.param)


@pytest.fixture
def esm2(tmp_path: Path) -> Path:
    return hub_models.make("esm2", tmp_path / "esm2")


def rewrite(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_weight_that_lacks_is_not_drawn_at_random(esm2: Path):
    rewrite(esm2, lambda weights: weights.pop("esm.encoder.layer.1.output.dense.weight"))
    with pytest.raises(CheckpointError, match=r"lacks 1 weights .*layer\.1\.output\.dense"):
        load(str(esm2)).embed([PROTEIN])


def test_a_checkpoint_of_another_architecture_is_refused(esm2: Path, tmp_path: Path):
    """The library fills every weight in at random, and warns."""
    bert = hub_models.make("protbert", tmp_path / "bert")
    (bert / "model.safetensors").rename(esm2 / "model.safetensors")
    with pytest.raises(CheckpointError, match="lacks"):
        load(str(esm2)).embed([PROTEIN])


def test_weights_left_over_inside_the_network_are_refused(esm2: Path):
    rewrite(
        esm2,
        lambda weights: weights.update({"esm.encoder.layer.3.output.dense.bias": torch.ones(24)}),
    )
    with pytest.raises(CheckpointError, match="has too many"):
        load(str(esm2)).embed([PROTEIN])


def test_other_heads_are_left_aside(esm2: Path):
    (before,) = load(str(esm2)).embed([PROTEIN])
    rewrite(esm2, lambda weights: weights.update({"species_head.weight": torch.ones(3, 24)}))
    model = load(str(esm2))
    assert (model.embed([PROTEIN])[0] == before).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(esm2: Path, value: float):
    rewrite(esm2, lambda weights: weights["esm.encoder.emb_layer_norm_after.bias"].fill_(value))
    with pytest.raises(CheckpointError, match="not finite"):
        load(str(esm2)).embed([PROTEIN])


def test_a_half_precision_checkpoint_is_computed_in_float32_on_a_cpu(esm2: Path):
    network = transformers.EsmForMaskedLM.from_pretrained(esm2, dtype=torch.bfloat16)
    network.save_pretrained(esm2)
    assert json.loads((esm2 / "config.json").read_text())["dtype"] == "bfloat16"
    model = load(str(esm2), device="cpu")
    assert model.identity.dtype == "float32"
    assert {weight.dtype for weight in model.encoder.parameters()} == {torch.float32}
    half = load(str(esm2), device="cpu", dtype="bfloat16")
    assert {weight.dtype for weight in half.encoder.parameters()} == {torch.bfloat16}
    (one,), (other,) = model.embed([PROTEIN]), half.embed([PROTEIN])
    assert 0 < abs(one - other).max() < 0.1 * abs(one).max()


def test_float16_is_refused_where_it_is_slow_or_overflows(esm2: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="slow in it"):
        load(str(esm2), device="cpu", dtype="float16", engine="transformers")
    with pytest.raises(ModelError, match="its values overflow"):
        load(
            str(hub_models.make("ankh", tmp_path / "a")), device="cpu", dtype="float16", engine=None
        )


def test_pickled_weights_are_read_without_running_anything(esm2: Path, tmp_path: Path):
    (before,) = load(str(esm2)).embed([PROTEIN])
    weights = load_file(esm2 / "model.safetensors")
    (esm2 / "model.safetensors").unlink()
    torch.save(weights, esm2 / "pytorch_model.bin")
    assert (load(str(esm2)).embed([PROTEIN])[0] == before).all()

    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    torch.save({"esm.embeddings.word_embeddings.weight": Evil()}, esm2 / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        load(str(esm2)).embed([PROTEIN])
    assert not (tmp_path / "executed").exists()


def test_code_in_a_folder_is_never_run(esm2: Path, tmp_path: Path):
    config = json.loads((esm2 / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Config"}
    (esm2 / "config.json").write_text(json.dumps(config))
    (esm2 / "evil.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    assert load(str(esm2)).embed([PROTEIN])[0].shape == (16, 24)
    assert not (tmp_path / "executed").exists()


def test_the_digest_is_of_the_weights(esm2: Path, tmp_path: Path):
    first = load(str(esm2)).identity
    assert first.weights_digest
    assert first.revision == first.weights_digest[:12]
    same = load(str(hub_models.make("esm2", tmp_path / "again"))).identity
    other = load(str(hub_models.make("esm2", tmp_path / "other", seed=1))).identity
    assert first.weights_digest == same.weights_digest != other.weights_digest


def test_a_network_that_was_trained_on_says_so(esm2: Path):
    model = load(str(esm2))
    assert not model.changed
    assert model.embed([PROTEIN])
    assert not model.changed
    with torch.no_grad():
        next(model.encoder.parameters()).add_(1)
    assert model.changed


def test_heads_that_are_not_tied_to_the_words(esm2: Path, request: pytest.FixtureRequest):
    rewrite(esm2, lambda weights: weights.update({"lm_head.decoder.weight": torch.ones(33, 24)}))
    if "packed" in request.node.name:
        with pytest.raises(CheckpointError, match="differs from the word embeddings"):
            load(str(esm2)).embed([PROTEIN])


@pytest.mark.parametrize("value", [{}, "x", [1]])
def test_a_configuration_that_the_library_stumbles_over(esm2: Path, value: object):
    path = esm2 / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mask_token_id": value}))
    with pytest.raises(ModelError):
        load(str(esm2), engine="transformers").embed([PROTEIN])
