"""The converted folder: read as written, refused where it was changed, open to Hugging Face."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tape_bench.errors import CheckpointError, UsageError
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.evidence import with_evidence
from tape_bench.models.proteinlm import Given, load, open_checkpoint
from tape_bench.models.proteinlm.checkpoint import digest, read_weights
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.proteinlm.folder import ConvertedFolder, config_from_json


@pytest.fixture
def folder(source: RandomWeights, tmp_path: Path) -> Path:
    convert(source, tmp_path / "folder")
    return tmp_path / "folder"


def test_a_folder_is_read_as_it_was_written(folder: Path, source: RandomWeights) -> None:
    opened = open_checkpoint(folder)
    assert opened.config == source.config
    assert opened.origin == source.origin
    assert digest(opened) == digest(source)


@pytest.mark.parametrize("size", [2, 8])
def test_a_rank_reads_its_slice(folder: Path, source: RandomWeights, size: int) -> None:
    opened = open_checkpoint(folder)
    for rank in range(size):
        expected = read_weights(source, keep=(rank, size))
        found = read_weights(opened, keep=(rank, size))
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_queries_keys_and_values_stand_apart(folder: Path, source: RandomWeights) -> None:
    """Head 1's rows of the fused weight are q, k, v of 4 rows each, from row 12 on."""
    fused = source.read("layers.0.attention.qkv.weight")
    kept = load_file(folder / "model.safetensors")
    name = "bert.encoder.layer.0.attention.self.{}.weight"
    assert torch.equal(kept[name.format("query")][4:8], fused[12:16])
    assert torch.equal(kept[name.format("key")][4:8], fused[16:20])
    assert torch.equal(kept[name.format("value")][4:8], fused[20:24])


def test_hugging_face_opens_it_and_computes_the_same(folder: Path) -> None:
    transformers = pytest.importorskip("transformers")
    theirs, report = transformers.MegatronBertForMaskedLM.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ours = load(str(folder), dtype="float32", device="cpu").encoder
    ids = torch.tensor([[2, 17, 15, 24, 6, 30]])
    hidden = theirs.eval().bert(ids).last_hidden_state
    torch.testing.assert_close(ours(ids), hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("change", [{"residual_after_norm": True}, {"mlm_head": False},
                                    {"token_types": 2}, {"gelu": "erf"}])  # fmt: skip
def test_variants_survive(source: RandomWeights, tmp_path: Path, change: dict[str, Any]) -> None:
    config = dataclasses.replace(source.config, **change)
    variant = type(source)(config, 1)
    convert(variant, tmp_path / "folder")
    opened = open_checkpoint(tmp_path / "folder")
    assert opened.config == config
    assert digest(opened) == digest(variant)
    said = json.loads((tmp_path / "folder" / "config.json").read_text())
    understood = not config.residual_after_norm
    assert (said["model_type"] == "megatron-bert") == understood, "theirs would compute otherwise"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 30}, "vocab_size must be 31"),
        ({"intermediate_size": 7}, "intermediate_size 128"),
        ({"hidden_act": "relu"}, "hidden_act must be"),
        ({"num_attention_heads": 3}, "3 heads do not divide"),
        ({"hidden_size": None}, "hidden must be"),
        ({"layer_norm_eps": "small"}, "layernorm_eps must"),
        ({"num_hidden_layers": True}, "layers must be a whole number"),
        ({"num_attention_heads": 8.0}, "heads must be a whole number"),
        ({"proteinlm": {}}, "not written by `tape-bench convert`"),
        ({"num_hidden_layers": 5}, r"layer.4.attention.* and is absent"),
        ({"num_hidden_layers": 3}, r"layer.3.attention.* should be absent"),
        ({"max_position_embeddings": 41}, r"should be \[41, 32\], and is \[40, 32\]"),
    ],
)
def test_a_changed_config_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residual_after_norm": "false"}, "residual_after_norm must be true or false"),
        ({"mlm_head": 1}, "mlm_head must be true or false"),
        ({"token_types": True}, "token_types must be a whole number"),
        ({"token_types": -1}, "token_types must be a whole number"),
    ],
)
def test_what_only_we_say_is_no_less_strict(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    path = folder / "config.json"
    said = json.loads(path.read_text())
    said["proteinlm"] |= change
    path.write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


def change_header(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def swap_two(header: dict[str, Any]) -> None:
    one, other = (header[f"bert.encoder.layer.{n}.attention.ln.weight"] for n in (0, 1))
    one["data_offsets"], other["data_offsets"] = other["data_offsets"], one["data_offsets"]


def read_as_bfloat16(header: dict[str, Any]) -> None:
    for name in header.keys() - {"__metadata__"}:
        header[name]["dtype"] = "BF16"


@pytest.mark.parametrize("fault", ["flipped", "swapped", "precision"])
def test_weights_that_are_not_what_was_converted_are_refused(folder: Path, fault: str) -> None:
    assert load(str(folder)).identity.weights_digest
    path = folder / "model.safetensors"
    if fault == "flipped":
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    else:
        change_header(path, swap_two if fault == "swapped" else read_as_bfloat16)
    with pytest.raises(CheckpointError, match="not what was converted"):
        load(str(folder)).embed(["MKV"])
    with pytest.raises(CheckpointError, match="not what was converted"):
        _ = load(str(folder)).identity


def test_a_network_that_has_been_trained_on_is_another_model(folder: Path) -> None:
    model = load(str(folder))
    model.embed(["MKV"])
    assert with_evidence(model).rests_on is None
    model.encoder.double()
    model.encoder.to(model.dtype)
    assert with_evidence(model).rests_on is None, "what overflows goes to float32 and back"
    weights = []
    for _ in range(2):
        with torch.no_grad():
            model.encoder.word.weight[3] += 0.5
        rests_on = with_evidence(model).rests_on
        assert rests_on is not None
        weights.append(rests_on.digest)
    assert len(set(weights)) == 2


def test_a_folder_of_an_older_release_is_read_with_a_note(folder: Path) -> None:
    assert load(str(folder)).notes == ()
    path = folder / "config.json"
    said = json.loads(path.read_text())
    del said["proteinlm"]["weights_digest"]
    path.write_text(json.dumps(said))
    model = load(str(folder))
    assert model.identity.weights_digest
    assert "damage to them cannot be seen" in model.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "not valid JSON"), ("[]", "JSON object"), ("{}", "hidden_size,.* are missing")],
)
def test_a_broken_config_is_refused(folder: Path, content: str, message: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder)


def test_a_truncated_or_missing_file_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cannot be opened"):
        open_checkpoint(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be opened"):
        open_checkpoint(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["bert.encoder.ln.bias"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"bert.encoder.ln.bias should be \[32\]"):
        open_checkpoint(folder)


def test_a_folder_needs_nothing_from_the_user(folder: Path) -> None:
    with pytest.raises(UsageError, match="knows its shape"):
        open_checkpoint(folder, Given(heads=8))


def test_a_config_alone_describes_a_shape(folder: Path, source: RandomWeights) -> None:
    assert config_from_json(folder / "config.json") == source.config
    with pytest.raises(CheckpointError, match="cannot be read"):
        config_from_json(folder / "nowhere.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 1_000_000_000),
        ("num_hidden_layers", 10_000_000),
        ("max_position_embeddings", 10**12),
        ("hidden_size", 10**9),
        ("num_attention_heads", 10**30),
        ("proteinlm", [1]),
        ("hidden_act", [[]]),
        ("num_hidden_layers", True),
    ],
)
def test_what_a_configuration_says_is_bounded_by_what_there_is(
    folder: Path, key: str, value: object
) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    started = time.perf_counter()
    with pytest.raises(CheckpointError):
        ConvertedFolder(folder)
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' + "1" * 5000 + "}", "[]", "1"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json"])
def test_descriptions_of_no_bounds(folder: Path, name: str, content: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError):
        ConvertedFolder(folder)


def test_an_index_names_files_of_its_own_folder(folder: Path) -> None:
    index = {"weight_map": {"a": "../folder/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="does not name the files"):
        ConvertedFolder(folder)
