"""Any sharding, any version: the same weights, and the values Megatron's ranks compute."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tape_bench.errors import CheckpointError
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import Given, ProteinLMConfig, load, open_checkpoint
from tape_bench.models.proteinlm.checkpoint import digest, read_weights, remembered_digest
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.proteinlm.mapping import flatten
from tape_bench.models.proteinlm.megatron.reader import MegatronCheckpoint
from tape_bench.models.proteinlm.megatron.writer import Sharding

SHARDINGS = [
    pytest.param(tensor, pipeline, version, id=f"tp{tensor} pp{pipeline} v{version}")
    for tensor in (1, 2, 4, 8)
    for pipeline in (1, 2, 4)
    for version in ("0", "1.0", "2.0", "3.0")
]


@pytest.mark.parametrize(("tensor", "pipeline", "version"), SHARDINGS)
def test_every_sharding_computes_what_its_ranks_compute(
    source: RandomWeights,
    write: Callable[..., Path],
    slow_forward: Callable[..., Any],
    tensor: int,
    pipeline: int,
    version: str,
) -> None:
    root = write(source, tensor, pipeline, version)
    model = load(str(root), dtype="float64", device="cpu")
    ids = model.vocabulary.encode("MKTAYIAKQRQW")
    hidden, logits = slow_forward(root, [model.vocabulary.cls, *ids])
    found = model.encoder(torch.tensor([[model.vocabulary.cls, *ids]]))[0].numpy()
    np.testing.assert_allclose(found, hidden, atol=1e-10)
    np.testing.assert_allclose(model.token_logits([ids])[0], logits[1:], rtol=1e-5, atol=1e-5)
    assert model.identity.weights_digest == digest(source)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("reading", ["megatron", "fork"])
def test_goldens_from_files(shared: Path, tmp_path: Path, ranks: int, reading: str) -> None:
    goldens = shared / "reference" / "goldens"
    shards = np.load(goldens / "megatron_tiny_shards.npz")
    for rank in range(ranks):
        model: dict[str, Any] = {}
        folder = f"tp{ranks}/rank{rank}/"
        for name in shards.files:
            if name.startswith(folder):
                *nested, leaf = name.removeprefix(folder).split("/")
                inside = model
                for part in nested:
                    inside = inside.setdefault(part, {})
                inside[leaf] = torch.from_numpy(shards[name])
        path = tmp_path / "release" / f"mp_rank_{rank:02d}" / "model_optim_rng.pt"
        path.parent.mkdir(parents=True)
        args = Namespace(
            num_attention_heads=4,
            layernorm_epsilon=1e-12,
            bias_gelu_fusion=True,
            tensor_model_parallel_size=ranks,
            pipeline_model_parallel_size=1,
        )
        torch.save({"args": args, "checkpoint_version": 3.0, "model": model}, path)
    loaded = load(str(tmp_path / "release"), dtype="float64", device="cpu", reading=reading)
    expected = np.load(goldens / "megatron_tiny_expected.npz")
    ids = torch.from_numpy(expected["pad/megatron_ids"])
    mask = torch.from_numpy(expected["pad/mask"]).bool()
    name = {"megatron": "megatron_hidden_tanh", "fork": "fork_hidden_asis"}[reading]
    hidden = loaded.encoder(ids, mask)[mask].numpy()
    np.testing.assert_allclose(hidden, expected[f"pad/{name}"][mask], atol=1e-10)
    gelu = {"megatron": "tanh", "fork": "erf"}[reading]
    logits = loaded.encoder.token_logits(ids, mask)[mask].numpy()
    scores = expected[f"pad/megatron_lm_logits_{gelu}"][mask][:, :31]
    np.testing.assert_allclose(logits, scores, atol=1e-10)


@pytest.mark.parametrize("inside", [1, 2, 4])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_a_rank_reads_its_slice_from_any_sharding(
    source: RandomWeights, write: Callable[..., Path], inside: int, size: int
) -> None:
    opened = open_checkpoint(write(source, inside))
    whole = read_weights(source)
    slices = [read_weights(opened, keep=(rank, size)) for rank in range(size)]
    axes = {"attention.dense.weight": 1, "mlp.contract.weight": 1}
    for name, weight in whole.items():
        parts = [part[name] for part in slices]
        if parts[0].shape == weight.shape:
            assert all(torch.equal(part, weight) for part in parts)
        else:
            axis = axes.get(name.split(".", 2)[-1], 0)
            assert torch.equal(torch.cat(parts, axis), weight)
    assert sum(part.numel() for part in slices[0].values()) < sum(
        weight.numel() for weight in whole.values()
    ) * (1 / size + 0.3)


def test_files_that_know_nothing_need_the_user_to_know(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    """What Megatron's merging tool and releases leave: the model and the iteration."""
    root = write(source)

    def strip(state: dict[str, Any]) -> None:
        del state["args"], state["checkpoint_version"]

    edit(root, strip)
    with pytest.raises(CheckpointError, match="-M heads, -M gelu, -M layernorm_eps"):
        open_checkpoint(root)
    shape = {"heads": 8, "gelu": "tanh", "layernorm_eps": 1e-12}
    with pytest.raises(CheckpointError, match="-M qkv_order"):
        open_checkpoint(root, Given(**shape))
    opened = open_checkpoint(root, Given(**shape, qkv_order="v2"))
    assert opened.config == source.config
    assert opened.origin.checkpoint_version == "absent"
    assert digest(opened) == digest(source)


def test_an_absent_version_is_version_zero_with_a_note(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source, version="0")
    edit(root, lambda state: state.pop("checkpoint_version"))
    opened = open_checkpoint(root)
    assert opened.origin.qkv_order == "v0"
    assert any("-M qkv_order=v2" in note for note in opened.notes)
    assert digest(opened) == digest(source)


def test_very_old_spellings_load(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source)

    def flatten(state: dict[str, Any]) -> None:
        model = state["model"]["language_model"]
        for table, weight in model.pop("embedding").items():
            model[f"{table}.weight"] = weight["weight"]
        for name, weight in model.pop("transformer").items():
            model[f"transformer.{name}"] = weight
        state["total_iters"] = state.pop("iteration")
        state["args"].model_parallel_size = state["args"].tensor_model_parallel_size
        del state["args"].tensor_model_parallel_size, state["args"].pipeline_model_parallel_size

    edit(root, flatten)
    assert digest(open_checkpoint(root)) == digest(source)


def test_an_unpadded_vocabulary_loads(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source)

    def unpad(state: dict[str, Any]) -> None:
        words = state["model"]["language_model"]["embedding"]["word_embeddings"]
        words["weight"] = words["weight"][:31].clone()
        state["model"]["lm_head"]["bias"] = state["model"]["lm_head"]["bias"][:31].clone()

    edit(root, unpad)
    assert digest(open_checkpoint(root)) == digest(source)


def test_legacy_files_load_with_a_note(source: RandomWeights, write: Callable[..., Path]) -> None:
    root = write(source, 2)
    for path in root.glob("*/*/*.pt"):
        state = torch.load(path, weights_only=False)
        torch.save(state, path, _use_new_zipfile_serialization=False)
    opened = open_checkpoint(root)
    assert digest(opened) == digest(source)
    assert digest(opened) == digest(source), "reading twice must not damage what was read"
    assert any("cannot be memory-mapped" in note for note in opened.notes)


def test_heads_of_other_trainings_are_left_out_and_told(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source)

    def add(state: dict[str, Any]) -> None:
        state["model"]["language_model"]["pooler"] = {"dense.weight": torch.ones(32, 32)}
        state["model"]["binary_head"] = {"weight": torch.ones(2, 32), "bias": torch.ones(2)}

    edit(root, add)
    opened = open_checkpoint(root)
    assert digest(opened) == digest(source)
    assert [note.split(" (")[0] for note in opened.notes] == [
        "the pooler",
        "the next-sentence head",
    ]


def test_a_fine_tuned_checkpoint_loads_without_the_token_head(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source)

    def fine_tune(state: dict[str, Any]) -> None:
        del state["model"]["lm_head"]
        state["model"]["classification_head"] = {"weight": torch.ones(2, 32)}

    edit(root, fine_tune)
    opened = open_checkpoint(root)
    assert not opened.config.mlm_head
    assert any("fine-tuned" in note for note in opened.notes)


def test_token_types_load(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source)
    table = {"weight": torch.full((2, 32), 5.0, dtype=torch.float16)}

    def add(state: dict[str, Any]) -> None:
        state["model"]["language_model"]["embedding"]["tokentype_embeddings"] = table

    edit(root, add)
    model = load(str(root), device="cpu", layer=0)
    plain = load(str(write(source, 2)), device="cpu", layer=0)
    difference = model.embed(["MK"])[0] - plain.embed(["MK"])[0]
    np.testing.assert_allclose(difference, 5.0, rtol=1e-6)


def test_args_decide_gelu_and_residual(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source)

    def change(state: dict[str, Any]) -> None:
        state["args"].bias_gelu_fusion = False
        state["args"].apply_residual_connection_post_layernorm = True

    edit(root, change)
    config = open_checkpoint(root).config
    assert (config.gelu, config.residual_after_norm) == ("erf", True)


def test_one_file_alone_loads(source: RandomWeights, write: Callable[..., Path]) -> None:
    (file,) = write(source).glob("*/*/*.pt")
    assert digest(open_checkpoint(file)) == digest(source)


def test_the_iteration_names_the_revision(
    source: RandomWeights, write: Callable[..., Path], config: ProteinLMConfig, tmp_path: Path
) -> None:
    (file,) = write(source).glob("*/*/*.pt")
    state = torch.load(file, weights_only=False)
    state["iteration"] = 123_000
    torch.save(state, tmp_path / "model_optim_rng.pt")
    opened = open_checkpoint(tmp_path / "model_optim_rng.pt")
    assert opened.origin.revision == "iter_0123000"


@pytest.mark.parametrize("form", ["shards", "folder"])
def test_a_network_that_is_trained_leaves_file_and_digest_alone(
    source: RandomWeights, write: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    """In the file's own precision the network's weights lie in the mapped file."""
    lively = type(source)(source.config, 1, torch.float32)
    path = write(lively)
    if form == "folder":
        convert(open_checkpoint(path), tmp_path / "folder")
        path = tmp_path / "folder"
    model = load(str(path), dtype="float32", device="cpu")
    for parameter in model.encoder.parameters():
        parameter.data.zero_()
    assert model.identity.weights_digest == digest(lively)
    assert not any(parameter.any() for parameter in model.encoder.parameters())
    assert digest(open_checkpoint(path)) == digest(lively)


def test_reading_again_leaves_shared_memory_alone(
    source: RandomWeights, write: Callable[..., Path]
) -> None:
    opened = open_checkpoint(write(source))
    shared = read_weights(opened, share=True)
    kept = {name: weight.clone() for name, weight in shared.items()}
    for weight in shared.values():
        weight.add_(1)
    digest(opened)
    for name, weight in kept.items():
        assert torch.equal(shared[name], weight + 1)


MEASURE = """
import sys
from pathlib import Path
import torch
from tape_bench.models.proteinlm import load

def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024

before = resident("VmRSS")
model = load(sys.argv[1], dtype="bfloat16", device="cpu")
kept = sum(p.numel() * p.element_size() for p in model.encoder.parameters())
print((resident("VmHWM") - before) / kept)
"""


@pytest.mark.slow
def test_loading_takes_no_more_memory_than_what_is_kept(tmp_path: Path) -> None:
    """Four shards with optimizer state, merged and cast: 200 MB are kept of 1.4 GB on disk."""
    config = ProteinLMConfig(
        layers=8, hidden=1024, heads=16, positions=64, layernorm_eps=1e-12, gelu="tanh"
    )
    root = tmp_path / "checkpoint"
    weights = RandomWeights(config, 0, torch.float16)
    convert(weights, root, to="megatron", sharding=Sharding(tensor=4))
    for path in root.glob("release/*/*.pt"):
        state = torch.load(path, weights_only=False)
        state["optimizer"] = {"exp_avg": torch.ones(75_000_000)}
        torch.save(state, path)
    measured = subprocess.check_output([sys.executable, "-c", MEASURE, str(root)], text=True)
    assert float(measured) < 1.15


def damage(path: Path, member: str, where: float = 0.5) -> None:
    """Flip a bit of a member of a zip archive, in the file itself."""
    with zipfile.ZipFile(path) as archive:
        (info,) = (one for one in archive.infolist() if one.filename.endswith(member))
    with path.open("r+b") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        place = info.header_offset + 30 + name + extra + int(info.file_size * where)
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def members(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        names = [name.partition("/")[2] for name in archive.namelist()]
    return [f"/{name}" for name in names if name.startswith("data/")]


def test_a_flipped_bit_is_seen_whichever_weight_has_it(
    source: RandomWeights, write: Callable[..., Path]
) -> None:
    root = write(source, tensor=2)
    (path,) = root.glob("*/mp_rank_01/model_optim_rng.pt")
    whole = path.read_bytes()
    assert remembered_digest(MegatronCheckpoint(root)) == digest(source)
    for member in members(path)[::5]:
        damage(path, member)
        with pytest.raises(CheckpointError, match=r"damaged: .* is not what was written"):
            remembered_digest(MegatronCheckpoint(root))
        path.write_bytes(whole)


def test_a_flipped_bit_in_what_describes_the_weights_is_seen_on_opening(
    source: RandomWeights, write: Callable[..., Path]
) -> None:
    root = write(source)
    (path,) = root.glob("*/mp_rank_00/model_optim_rng.pt")
    whole = path.read_bytes()
    for where in np.linspace(0.0, 0.99, 20):
        damage(path, "/data.pkl", where)
        with pytest.raises(CheckpointError, match="damaged: Bad CRC-32"):
            MegatronCheckpoint(root)
        path.write_bytes(whole)


def test_a_file_without_checksums_is_read(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source)
    torch.serialization.set_crc32_options(False)
    try:
        edit(root, lambda state: None)
    finally:
        torch.serialization.set_crc32_options(True)
    assert remembered_digest(MegatronCheckpoint(root)) == digest(source)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None], value: float
) -> None:
    root = write(source)

    def spoil(state: dict[str, Any]) -> None:
        flatten(state["model"])["language_model.transformer.final_layernorm.weight"][3] = value

    edit(root, spoil)
    with pytest.raises(CheckpointError, match=r"norm\.weight has values that are not finite"):
        load(str(root)).embed(["MKV"])
