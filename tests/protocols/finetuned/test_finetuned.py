"""Checkpoints that others fine-tuned, scored as their own code would have them predict."""

from __future__ import annotations

import json
from pathlib import Path

import hub_models
import numpy as np
import pytest
import torch
import transformers

from tape_bench import evaluate, load_model, registry
from tape_bench.errors import CheckpointError, TasksFailedError, UsageError
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.embedder import TaskPredictor
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.results import store
from tape_bench.results.predictions import read_predictions

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY", "MKVLLAGRESTW"]
TAPE = {
    "stability": ("ProteinBertForValuePrediction", 1),
    "remote_homology": ("ProteinBertForSequenceClassification", 1195),
    "secondary_structure": ("ProteinBertForSequenceToSequenceClassification", 3),
    "contact": ("ProteinBertForContactPrediction", 2),
}


def tape_folder(folder: Path, task: str):
    """Have TAPE itself save one of its task models, and return that model."""
    tape = pytest.importorskip("tape")
    name, labels = TAPE[task]
    torch.manual_seed(0)
    config = tape.ProteinBertConfig(
        num_hidden_layers=2, hidden_size=32, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=800, num_labels=labels,
    )  # fmt: skip
    network = getattr(tape.models.modeling_bert, name)(config).eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
        for named, count in network.named_buffers():
            if named.endswith(("running_mean", "running_var")):
                count.copy_(torch.rand_like(count) + 0.5)
    folder.mkdir()
    network.save_pretrained(str(folder))
    return network


@pytest.mark.parametrize("task", TAPE)
def test_predictions_are_tapes_own(task, tmp_path):
    network = tape_folder(tmp_path / "tuned", task)
    import tape

    tokenizer = tape.TAPETokenizer(vocab="iupac")
    model = load_model(f"finetuned:{tmp_path / 'tuned'}", device="cpu")
    assert isinstance(model, TaskPredictor)
    card = registry.task(task)
    assert model.target_of(card) == card.targets[0].name
    ours = model.predict(SEQUENCES)
    for sequence, mine in zip(SEQUENCES, ours, strict=True):
        ids = torch.from_numpy(tokenizer.encode(sequence))[None]
        with torch.no_grad():
            if task == "contact":
                told = network(ids, torch.tensor([len(sequence)]))[0][0].softmax(-1)[..., 1]
                its = told[np.triu_indices(len(sequence), 6)]
            else:
                its = network(ids)[0][0]
                its = its[1:-1] if task == "secondary_structure" else its
        np.testing.assert_allclose(
            mine.reshape(its.shape), its.numpy(), atol=1e-5 * max(1, float(its.abs().max()))
        )


def test_a_task_from_card_to_record(tmp_path):
    tape_folder(tmp_path / "tuned", "secondary_structure")
    settings = {"data": "sample", "limit": 8, "out": tmp_path / "out", "protocol": "finetuned"}
    (record,) = evaluate(f"finetuned:{tmp_path / 'tuned'}", "secondary_structure", **settings)
    assert record.protocol.id == "finetuned"
    assert record.protocol.resolved["head"] == "TAPE's, on tokens"
    values = {m.id: m for m in record.metrics if m.split == "cb513"}
    assert values["ss3.accuracy.pooled"].value is not None
    undefined = next(m for m in values.values() if m.id.startswith("ss8"))
    assert undefined.undefined == "the checkpoint's head predicts ss3 alone"
    assert not any(m.split == "valid" for m in record.metrics)
    assert not record.leakage


def test_heads_of_another_task_or_size_are_refused_by_name(tmp_path):
    tape_folder(tmp_path / "tuned", "secondary_structure")
    model = load_model(f"finetuned:{tmp_path / 'tuned'}", device="cpu")
    with pytest.raises(UsageError, match="a head for token class with 3 classes; stability needs"):
        model.target_of(registry.task("stability"))
    settings = {"data": "sample", "limit": 8, "out": tmp_path / "out", "protocol": "finetuned"}
    with pytest.raises(TasksFailedError, match="remote_homology needs one for sequence class with"):
        evaluate(f"finetuned:{tmp_path / 'tuned'}", "remote_homology", **settings)
    with pytest.raises(UsageError, match="it is no TaskPredictor, it lacks predict and target_of"):
        evaluate("onehot", "stability", **settings)


def test_the_encoder_of_a_tuned_tape_folder_embeds_as_ever(tmp_path):
    tape_folder(tmp_path / "tuned", "stability")
    tuned = load_model(f"finetuned:{tmp_path / 'tuned'}", device="cpu")
    plain = load_model(f"tape_bert:{tmp_path / 'tuned'}", device="cpu")
    np.testing.assert_array_equal(tuned.embed(SEQUENCES)[0], plain.embed(SEQUENCES)[0])
    assert tuned.identity.weights_digest != plain.identity.weights_digest


CONFIG = ProteinLMConfig(
    layers=2, hidden=32, heads=4, positions=64, layernorm_eps=1e-12, gelu="tanh"
)


class Lively(RandomWeights):
    def _draw(self, name, shape):
        generator = torch.Generator().manual_seed(sum(map(ord, name)) * 1000 + self._seed)
        return torch.randn(shape, generator=generator) * 0.3 + ("norm.weight" in name)


def megatron(folder: Path, kind: str) -> dict[str, torch.Tensor]:
    """Write a checkpoint as Megatron's fine-tuning saves it; return the head's weights."""
    convert(Lively(CONFIG, 0), folder, to="megatron")
    torch.manual_seed(1)
    head = {
        "value": {"weight": torch.randn(1, 32), "bias": torch.randn(1)},
        "token": {
            "0.weight": torch.randn(32, 32) / 5, "0.bias": torch.randn(32),
            "3.weight": torch.randn(3, 32), "3.bias": torch.randn(3),
        },
        "pair": {
            "classifier.0.weight": torch.randn(32, 64) / 8, "classifier.0.bias": torch.randn(32),
            "classifier.3.weight": torch.randn(2, 32), "classifier.3.bias": torch.randn(2),
        },
    }[kind]  # fmt: skip
    (path,) = folder.glob("*/mp_rank_00/model_optim_rng.pt")
    state = torch.load(path, weights_only=False)
    state["model"].pop("lm_head", None)
    state["model"]["classification_head"] = dict(head)
    if kind == "value":
        pooler = {"dense.weight": torch.randn(32, 32) / 5, "dense.bias": torch.randn(32)}
        state["model"]["language_model"]["pooler"] = pooler
        head = head | pooler
    torch.save(state, path)
    return head


@pytest.mark.parametrize("kind", ["value", "token", "pair"])
def test_megatrons_heads_by_hand(kind, tmp_path):
    head = megatron(tmp_path / "tuned", kind)
    model = load_model(f"finetuned:{tmp_path / 'tuned'}", device="cpu")
    base = load_model(f"proteinlm:{tmp_path / 'tuned'}", device="cpu")
    predicted = model.predict(SEQUENCES)
    for number, sequence in enumerate(SEQUENCES):
        if kind == "value":
            first = torch.from_numpy(base.embed([sequence], "first")[0])
            pooled = torch.tanh(head["dense.weight"] @ first + head["dense.bias"])
            its = head["weight"] @ pooled + head["bias"]
        else:
            x = torch.from_numpy(base.embed([sequence])[0])
            if kind == "token":
                inner = torch.tanh(x @ head["0.weight"].T + head["0.bias"])
                its = inner @ head["3.weight"].T + head["3.bias"]
            else:
                length = len(sequence)
                pairs = torch.cat(
                    [x[None].expand(length, -1, -1), x[:, None].expand(-1, length, -1)], -1
                )
                inner = torch.tanh(
                    pairs @ head["classifier.0.weight"].T + head["classifier.0.bias"]
                )
                scores = inner @ head["classifier.3.weight"].T + head["classifier.3.bias"]
                its = ((scores + scores.transpose(0, 1)) / 2).softmax(-1)[..., 1]
                its = its[np.triu_indices(length, 6)]
        np.testing.assert_allclose(predicted[number], its.numpy(), atol=2e-5)
    card = {"value": "stability", "token": "secondary_structure", "pair": "contact"}[kind]
    assert model.target_of(registry.task(card))


def fork(folder: Path) -> Path:
    """Write a folder of ProteinLM's TAPE fork with the head for values, by its description."""
    source = Lively(CONFIG, 0)
    words = source.read("word.weight")
    state = {
        "bert.embeddings.word_embeddings.weight": torch.cat([words[:5], words[6:31]]),
        "bert.embeddings.position_embeddings.weight": source.read("position.weight"),
        "bert.embeddings.token_type_embeddings.weight": torch.zeros(2, 32),
    }
    names = {
        "attention_norm": "input_ln", "attention.dense": "attention.dense",
        "mlp_norm": "post_attn_ln", "mlp.expand": "mlp.dense_h_4h",
        "mlp.contract": "mlp.dense_4h_h",
    }  # fmt: skip
    for layer in range(2):
        for part in ("weight", "bias"):
            theirs = f"bert.encoder.layer.{layer}"
            for ours, name in names.items():
                state[f"{theirs}.{name}.{part}"] = source.read(f"layers.{layer}.{ours}.{part}")
            fused = source.read(f"layers.{layer}.attention.qkv.{part}").view(4, 3, 8, -1)
            for place, name in enumerate(("query", "key", "value")):
                rows = fused[:, place].reshape(32, -1).squeeze(-1).clone()
                state[f"{theirs}.attention.self.{name}.{part}"] = rows
    for part in ("weight", "bias"):
        state[f"bert.encoder.final_ln.{part}"] = source.read(f"final_norm.{part}")
    torch.manual_seed(2)
    start = "predict.value_prediction.main"
    for layer, shape in (("0", (1024, 32)), ("3", (1, 1024))):
        state[f"{start}.{layer}.weight_v"] = torch.randn(shape)
        state[f"{start}.{layer}.weight_g"] = torch.tensor(3.0 if layer == "0" else 1.5)
        state[f"{start}.{layer}.bias"] = torch.randn(shape[0])
    folder.mkdir()
    said = {
        "vocab_size": 30, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 128, "max_position_embeddings": 64, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(said))
    torch.save(state, folder / "pytorch_model.bin")
    return folder


def test_the_forks_head_by_hand(tmp_path):
    folder = fork(tmp_path / "tuned")
    model = load_model(f"finetuned:{folder}", device="cpu")
    state = torch.load(folder / "pytorch_model.bin")
    first = np.stack(load_model(f"proteinlm:{folder}", device="cpu").embed(SEQUENCES, "first"))
    start = "predict.value_prediction.main"
    x = torch.from_numpy(first)
    for layer in ("0", "3"):
        v = state[f"{start}.{layer}.weight_v"]
        weight = state[f"{start}.{layer}.weight_g"] * v / v.norm()
        x = x @ weight.T + state[f"{start}.{layer}.bias"]
        x = x.relu() if layer == "0" else x
    np.testing.assert_allclose(np.concatenate(model.predict(SEQUENCES)), x[:, 0], atol=2e-5)
    assert model.identity.reading["head"] == "the TAPE fork's, on the first token"
    assert model.target_of(registry.task("fluorescence")) == "log_fluorescence"


HUB = {
    "stability": ("Sequence", 1),
    "remote_homology": ("Sequence", 1195),
    "secondary_structure": ("Token", 3),
}


def hub_folder(folder: Path, task: str, family: str = "Esm"):
    kind, labels = HUB[task]
    hub_models.make({"Esm": "esm2", "Bert": "protbert"}[family], folder)
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=labels)
    torch.manual_seed(3)
    network = getattr(transformers, f"{family}For{kind}Classification")(config).eval()
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("task", HUB)
@pytest.mark.parametrize("family", ["Esm", "Bert"])
def test_predictions_are_those_of_transformers(task, family, tmp_path):
    network = hub_folder(tmp_path / "tuned", task, family)
    model = load_model(f"finetuned:{tmp_path / 'tuned'}", device="cpu")
    assert model.target_of(registry.task(task))
    words = (tmp_path / "tuned" / "vocab.txt").read_text().splitlines()
    before, after = ("<cls>", "<eos>") if family == "Esm" else ("[CLS]", "[SEP]")
    for sequence, mine in zip(SEQUENCES, model.predict(SEQUENCES), strict=True):
        ids = torch.tensor([[words.index(one) for one in (before, *sequence, after)]])
        with torch.no_grad():
            its = network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        its = its[1:-1] if task == "secondary_structure" else its
        np.testing.assert_allclose(mine.reshape(its.shape), its.numpy(), atol=1e-5)


def test_classes_go_by_their_names_where_both_sides_name_them(tmp_path):
    hub_folder(tmp_path / "tuned", "secondary_structure")
    place = tmp_path / "tuned" / "config.json"
    plain = load_model(f"finetuned:{tmp_path / 'tuned'}", device="cpu")
    plain.target_of(registry.task("secondary_structure"))
    as_saved = plain.predict(SEQUENCES)[0]
    said = json.loads(place.read_text())
    said["id2label"], said["label2id"] = {"0": "C", "1": "H", "2": "E"}, {"C": 0, "H": 1, "E": 2}
    place.write_text(json.dumps(said))
    named = load_model(f"finetuned:{tmp_path / 'tuned'}", device="cpu")
    named.target_of(registry.task("secondary_structure"))
    by_name = named.predict(SEQUENCES)[0]
    np.testing.assert_array_equal(by_name, as_saved[:, [1, 2, 0]])


def test_what_a_file_lacks_is_never_drawn_at_random(tmp_path):
    hub_folder(tmp_path / "tuned", "stability")
    from safetensors.torch import load_file, save_file

    path = tmp_path / "tuned" / "model.safetensors"
    tensors = load_file(path)
    save_file(
        {n: t for n, t in tensors.items() if "classifier.dense" not in n}, path, {"format": "pt"}
    )
    model = load_model(f"finetuned:{tmp_path / 'tuned'}", device="cpu")
    with pytest.raises(CheckpointError, match="the checkpoint lacks 2 weights"):
        model.predict(SEQUENCES)


@pytest.mark.parametrize("moves", ["all", "lora", "head"])
@pytest.mark.parametrize("task", ["stability", "secondary_structure", "contact"])
def test_what_finetune_keeps_predicts_the_same_and_embeds(moves, task, tmp_path):
    folder = hub_models.make("esm2", tmp_path / "esm2")
    settings = {"data": "sample", "limit": 10, "out": tmp_path / "out", "seeds": (5,)}
    options = {"moves": moves, "epochs": 1, "learning_rate": 1e-4, "batch": 4}
    (record,) = evaluate(f"hf:{folder}", task, protocol="finetune", **options, **settings)
    path = store.path_of(tmp_path / "out", record)
    card = registry.task(task)
    tuned = store.models_path(path) / f"{card.targets[0].name}-5"
    (again,) = evaluate(
        f"finetuned:{tuned}", task, protocol="finetuned", **settings | {"seeds": None}
    )
    key = card.targets[0].name, card.headline
    then = read_predictions(store.predictions_path(path), card.kind)[key][5]
    place = store.predictions_path(store.path_of(tmp_path / "out", again))
    now = read_predictions(place, card.kind)[key][0]
    assert then.ids == now.ids
    np.testing.assert_allclose(now.values, then.values, atol=2e-5, rtol=2e-5)
    assert again.model.name == f"{record.model.name}-{task}"
    assert again.model.reading["trained_on"].endswith("seed 5")

    model = load_model(f"finetuned:{tuned}", device="cpu")
    vectors = model.embed(SEQUENCES)[0]
    plain = load_model(f"hf:{folder}", device="cpu").embed(SEQUENCES)[0]
    assert (np.abs(vectors - plain).max() > 1e-6) == (moves != "head")
    other = "fluorescence" if task == "stability" else "stability"
    with pytest.raises(UsageError, match=f"trained on {task}; {other} needs"):
        model.target_of(registry.task(other))


def test_a_base_that_has_moved_or_is_another_is_told(tmp_path):
    folder = hub_models.make("esm2", tmp_path / "esm2")
    settings = {"data": "sample", "limit": 10, "out": tmp_path / "out", "seeds": (0,)}
    options = {"moves": "lora", "epochs": 1, "batch": 4}
    (record,) = evaluate(f"hf:{folder}", "stability", protocol="finetune", **options, **settings)
    (tuned,) = store.models_path(store.path_of(tmp_path / "out", record)).iterdir()
    folder.rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="cannot be loaded") as told:
        load_model(f"finetuned:{tuned}")
    assert "-M base=MODEL" in str(told.value)
    assert load_model(f"finetuned:{tuned}", base=f"hf:{tmp_path / 'moved'}", device="cpu")
    other = hub_models.make("esm2", tmp_path / "other", seed=1)
    with pytest.raises(CheckpointError, match="is not the model that this was trained from"):
        load_model(f"finetuned:{tuned}", base=f"hf:{other}")
    about = tuned / "tape-bench.json"
    about.write_text(about.read_text()[:-20])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(f"finetuned:{tuned}")


def test_no_head_no_score(tmp_path):
    folder = hub_models.make("protbert", tmp_path / "plain")
    with pytest.raises(CheckpointError):
        load_model(f"finetuned:{folder}").predict(SEQUENCES)
    with pytest.raises(UsageError, match="finetuned needs a folder"):
        load_model("finetuned")
