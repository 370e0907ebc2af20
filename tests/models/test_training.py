"""Networks that are trained: the values of the model, and the gradients of the library's own."""

from __future__ import annotations

import json
from pathlib import Path

import hub_models
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from tape_bench.errors import CheckpointError
from tape_bench.models import lora
from tape_bench.models.embedder import Trainable
from tape_bench.models.huggingface.loading import load
from tape_bench.models.proteinlm import adapter as proteinlm
from tape_bench.models.trainable import replace_weights

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKL", "MKV"]
FAMILIES = [
    *((family, {}) for family in hub_models.FAMILIES),
    *((family, {"engine": "transformers"}) for family in ("esm2", "protbert")),
]
ALL = ("query", "key", "value", "output", "expand", "contract")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("hub")
    return {family: hub_models.make(family, place / family) for family in hub_models.FAMILIES}


@pytest.fixture(params=FAMILIES, ids=lambda one: f"{one[0]} {one[1].get('engine', '')}".strip())
def model(request, folders):
    family, options = request.param
    return load(str(folders[family]), dtype="float32", device="cpu", **options)


def residues(model, network):
    return network(SEQUENCES).residues.split([len(s) for s in SEQUENCES])


def test_states_are_the_models_representations(model):
    assert isinstance(model, Trainable)
    network = model.to_train()
    for mine, its in zip(residues(model, network), model.embed(SEQUENCES), strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), its, atol=2e-5, rtol=1e-5)
    first = network(SEQUENCES).first
    if first is not None:
        its = np.stack(model.embed(SEQUENCES, "first"))
        np.testing.assert_allclose(first.detach().numpy(), its, atol=2e-5, rtol=1e-5)


def test_training_leaves_the_model_as_it_was(model):
    before = model.embed(SEQUENCES[:1])[0]
    network = model.to_train()
    residues(model, network)[0].square().sum().backward()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1)
    assert not model.changed
    np.testing.assert_array_equal(model.embed(SEQUENCES[:1])[0], before)


def test_every_weight_that_is_read_has_a_gradient_and_every_block_its_maps(model):
    network = model.to_train()
    found = network(SEQUENCES)
    total = found.residues.square().sum()
    (total if found.first is None else total + found.first.square().sum()).backward()
    for block in network.blocks:
        for weight in block.parameters():
            assert weight.grad is not None
            assert weight.grad.abs().sum() > 0 or weight.dim() == 1
    parts = [part for linear in network.linear_maps() for part in linear.parts]
    assert set(parts) == set(ALL)
    assert len(parts) >= 6 * len(network.blocks)


@pytest.mark.parametrize("family", ["esm2", "esm1", "protbert"])
def test_gradients_are_those_of_the_library(folders, family):
    """Our packed network against the library's, which pads, by the loss of the mean state."""
    model = load(str(folders[family]), dtype="float32", device="cpu")
    network = model.to_train()
    states = residues(model, network)
    torch.stack([one.mean(0).square().sum() for one in states]).mean().backward()

    theirs = transformers.AutoModel.from_pretrained(folders[family], dtype=torch.float32).eval()
    tokens = (folders[family] / "vocab.txt").read_text().splitlines()
    losses = []
    for sequence in SEQUENCES:
        before, after = ("[CLS]", "[SEP]") if family == "protbert" else ("<cls>", "<eos>")
        ids = torch.tensor([[tokens.index(one) for one in (before, *sequence, after)]])
        state = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        losses.append(state[0, 1:-1].mean(0).square().sum())
    torch.stack(losses).mean().backward()

    layer = theirs.encoder.layer[1]
    ours = network.blocks[1]
    heads = model.network.num_attention_heads
    parts = ours.attention.qkv.weight.grad.unflatten(0, (heads, 3, -1)).unbind(1)
    own = layer.attention.self
    for mine, its in (
        *zip((p.flatten(0, 1) for p in parts), (own.query, own.key, own.value), strict=True),
        (ours.attention.dense.weight.grad, layer.attention.output.dense),
        (ours.mlp.expand.weight.grad, layer.intermediate.dense),
        (ours.mlp.contract.weight.grad, layer.output.dense),
    ):
        its = its.weight.grad
        assert (mine - its).norm() <= 1e-4 * its.norm()


@pytest.mark.parametrize("maps", [ALL, ("query", "value"), ("contract",)])
def test_low_ranks_merged_equal_low_ranks_applied(model, maps):
    network = model.to_train()
    lora.attach(network, lora.Rank(3, 6.0, maps))
    untouched = network(SEQUENCES).residues.detach()
    plain = model.to_train()(SEQUENCES).residues.detach()
    assert torch.allclose(untouched, plain, atol=2e-6), "they begin with nothing"
    fill(network)
    applied = network(SEQUENCES).residues.detach()
    assert (applied - plain).abs().max() > 1e-2
    retrained = model.retrained(lora.merged(network), model.identity)
    embedded = torch.from_numpy(np.concatenate(retrained.embed(SEQUENCES)))
    assert (embedded - applied).norm() <= 5e-6 * applied.norm(), "in float32"
    network.double()
    applied, weights = network(SEQUENCES).residues.detach(), lora.merged(network)
    merged = model.to_train().double()
    replace_weights(merged.weights, weights, "")
    assert (merged(SEQUENCES).residues - applied).norm() <= 1e-6 * applied.norm()


def fill(network):
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if ".lora." in name:
                weight.normal_(std=0.1)


@pytest.mark.parametrize("family", ["esm2", "protbert", "prott5"])
def test_peft_reads_the_low_ranks_and_finds_the_same(folders, tmp_path, family):
    peft = pytest.importorskip("peft")
    model = load(str(folders[family]), dtype="float32", device="cpu")
    network = model.to_train()
    rank = lora.Rank(3, 6.0, ("query", "key", "value", "output", "dense"))
    lora.attach(network, rank)
    fill(network)
    save_file(lora.to_peft(network), tmp_path / "adapter_model.safetensors")
    config = lora.peft_config(rank, network, str(folders[family]))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    kind = transformers.T5EncoderModel if family == "prott5" else transformers.AutoModel
    base = kind.from_pretrained(folders[family], dtype=torch.float32)
    theirs = peft.PeftModel.from_pretrained(base, tmp_path).merge_and_unload().eval()
    own = network(SEQUENCES[:1]).residues.detach()
    ids = torch.from_numpy(model.vocabulary.encode(SEQUENCES[0]))
    before = torch.tensor(model.vocabulary.ids_of(model.recipe.before), dtype=torch.long)
    after = torch.tensor(model.vocabulary.ids_of(model.recipe.after), dtype=torch.long)
    row = torch.cat([before, ids, after])[None]
    states = theirs(input_ids=row, attention_mask=torch.ones_like(row)).last_hidden_state[0]
    its = states[len(before) : len(before) + len(SEQUENCES[0])]
    assert (own - its).abs().max() <= 2e-5 * max(1, float(its.abs().max()))


def test_low_ranks_of_another_network_are_refused(folders):
    model = load(str(folders["esm2"]), dtype="float32", device="cpu")
    network = model.to_train()
    lora.attach(network, lora.Rank(3, 6.0, ALL))
    tensors = lora.to_peft(network)
    name = next(iter(tensors))
    with pytest.raises(CheckpointError, match="not those of this network"):
        lora.load_peft(network, {n: t for n, t in tensors.items() if n != name})
    with pytest.raises(CheckpointError, match="has the shape"):
        lora.load_peft(network, {**tensors, name: torch.zeros(2, 2)})


def test_weights_of_another_model_are_refused(model):
    where = next(iter(dict(model.to_train().weights.named_parameters())))
    with pytest.raises(CheckpointError, match="has the shape"):
        model.retrained({where: torch.zeros(1, 7)}, model.identity).embed(SEQUENCES)
    with pytest.raises(CheckpointError, match="none of this name"):
        model.retrained({"nowhere": torch.zeros(1)}, model.identity).embed(SEQUENCES)


def test_proteinlm_trains_at_the_layer_it_reads(checkpoint):
    model = proteinlm.load(str(checkpoint), device="cpu", layer=2)
    network = model.to_train()
    assert len(network.blocks) == 2
    for mine, its in zip(residues(model, network), model.embed(SEQUENCES), strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), its, atol=2e-5)
    assert not any(w.requires_grad for w in network.weights.layers[2].parameters())
