"""Checkpoints of TAPE's transformer that are missing, broken, foreign or unsafe."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tape_bench.errors import CheckpointError
from tape_bench.models.tape_bert import adapter


def test_no_folder(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json"):
        adapter.load(str(tmp_path / "nowhere"))


def test_no_weights(tmp_path, tape_files):
    (tmp_path / "config.json").write_text(json.dumps(tape_files.CONFIG))
    with pytest.raises(CheckpointError, match="no weights"):
        adapter.load(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": None}, "hidden_size"),
        ({"hidden_size": 25}, "not a multiple"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"hidden_act": "relu"}, "gelu"),
        ({"vocab_size": 8000}, "8000 tokens"),
        ({"layer_norm_eps": "tiny"}, "layer_norm_eps"),
    ],
)
def test_configurations(tmp_path, change, message, tape_files):
    config = {
        name: value for name, value in (tape_files.CONFIG | change).items() if value is not None
    }
    with pytest.raises(CheckpointError, match=message):
        adapter.load(tape_files.write(tmp_path, tape_files.weights(), config))


def test_configuration_that_is_no_json(tmp_path, tape_folder):
    (Path(tape_folder) / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="JSON"):
        adapter.load(tape_folder)


def test_a_missing_tensor_is_named(tmp_path, tape_files):
    arrays = tape_files.weights()
    del arrays["bert.encoder.layer.1.attention.self.key.bias"]
    with pytest.raises(CheckpointError, match=r"missing:\n.*layer\.1\.attention\.self\.key\."):
        adapter.load(tape_files.write(tmp_path, arrays))


def test_a_tensor_left_over_is_named(tmp_path, tape_files):
    arrays = tape_files.weights() | {"other.main.0.bias": np.zeros(3)}
    with pytest.raises(CheckpointError, match=r"left over:\n.*other\.main\.0\.bias"):
        adapter.load(tape_files.write(tmp_path, arrays))


def test_the_head_of_a_task_is_left_aside(tmp_path, tape_files):
    arrays = tape_files.weights() | {"classify.classify.main.0.bias": np.zeros(3)}
    tuned = adapter.load(tape_files.write(tmp_path, arrays))
    plain = adapter.load(tape_files.write(tmp_path / "plain", tape_files.weights()))
    np.testing.assert_array_equal(tuned.embed(["MKV"])[0], plain.embed(["MKV"])[0])


def test_more_layers_than_the_configuration_says(tmp_path, tape_files):
    with pytest.raises(CheckpointError, match=r"left over:\n.*encoder\.layer\.2"):
        adapter.load(
            tape_files.write(
                tmp_path, tape_files.weights(), tape_files.CONFIG | {"num_hidden_layers": 2}
            )
        )


def test_another_shape(tmp_path, tape_files):
    config = tape_files.CONFIG | {"max_position_embeddings": 64}
    with pytest.raises(CheckpointError, match=r"position_embeddings.*\[34, 24\].*\[64, 24\]"):
        adapter.load(tape_files.write(tmp_path, tape_files.weights(), config))


def test_a_head_that_is_not_tied(tmp_path, tape_files):
    arrays = tape_files.weights()
    arrays["mlm.decoder.weight"] = arrays["mlm.decoder.weight"] + 1
    with pytest.raises(CheckpointError, match="differs"):
        adapter.load(tape_files.write(tmp_path, arrays))


def test_integers_are_no_weights(tmp_path, tape_files):
    arrays = tape_files.weights() | {"mlm.bias": np.zeros(30, np.int64)}
    with pytest.raises(CheckpointError, match=r"not numbers:\n.*mlm\.bias"):
        adapter.load(tape_files.write(tmp_path, arrays))


def test_nothing_foreign_is_unpickled(tape_folder, tmp_path):
    class Foreign:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    torch.save({"bert.x": Foreign()}, Path(tape_folder) / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="refused to unpickle"):
        adapter.load(tape_folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"hello world", b"PK\x03\x04", b"\x80\x02garbage"])
def test_something_else(tape_folder, content):
    (Path(tape_folder) / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a file of PyTorch weights"):
        adapter.load(tape_folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short(tmp_path, zipped, tape_files):
    cut = tape_files.write(tmp_path, tape_files.weights(), _use_new_zipfile_serialization=zipped)
    path = Path(cut) / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(CheckpointError, match="cut short"):
        adapter.load(cut)


def test_more_than_tensors(tape_folder):
    torch.save({"bert.x": torch.ones(1), "epoch": 3}, Path(tape_folder) / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="more than tensors"):
        adapter.load(tape_folder)


def test_a_flipped_bit_is_seen(tape_folder):
    path = Path(tape_folder) / "pytorch_model.bin"
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        place = max(archive.infolist(), key=lambda member: member.file_size).header_offset
    content[place + 400] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged: .* is not what was written"):
        adapter.load(tape_folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, tape_files, value):
    arrays = tape_files.weights()
    name = "bert.encoder.layer.1.attention.self.key.bias"
    arrays[name] = np.full_like(arrays[name], value)
    with pytest.raises(CheckpointError, match=r"not finite:\n.*layer\.1\.attention\.self\.key\."):
        adapter.load(tape_files.write(tmp_path, arrays))


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "max_position_embeddings"])
@pytest.mark.parametrize("value", [2**31, 2**63, 10**30])
def test_a_size_that_no_network_has(tape_folder, key, value):
    path = Path(tape_folder) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(CheckpointError, match=key):
        adapter.load(tape_folder)
