"""The adapter: sequences in, representations out, whatever shares their batch."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tape_bench import kernels
from tape_bench.data.vocabulary import LETTERS
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.embedder import AttentionMaps, Embedder, MaskedLanguageModel
from tape_bench.models.proteinlm import ProteinLM, ProteinLMConfig, Reading, load
from tape_bench.models.proteinlm import adapter as module
from tape_bench.models.transformer import adapter as packed
from tape_bench.speed import synthetic

CONFIG = ProteinLMConfig(
    layers=2, hidden=16, heads=2, positions=12, layernorm_eps=1e-12, gelu="tanh"
)


def make(reading: Reading | None = None, dtype: str = "float32", **options: object) -> ProteinLM:
    about = {"spec": "x", "name": "x", "pretraining": (), "device": "cpu", **options}
    return ProteinLM(lambda: Scaled(CONFIG, 3), reading or Reading(), dtype=dtype, **about)  # type: ignore[arg-type]


class Scaled(RandomWeights):
    """Weights large enough for every residue to matter to every other."""

    def _draw(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        return super()._draw(name, shape) * (1 if "norm" in name else 15)


SEQUENCES = st.lists(st.text(LETTERS, min_size=1, max_size=11), min_size=1, max_size=6)


@settings(deadline=None)
@given(sequences=SEQUENCES, budget=st.integers(1, 40))
def test_any_batching_gives_what_each_gives_alone(sequences: list[str], budget: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "_TOKENS_ON_CPU", budget)
        together = MODEL.embed(sequences)
        for sequence, found in zip(sequences, together, strict=True):
            (alone,) = MODEL.embed([sequence])
            assert found.shape == (len(sequence), 16)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, alone, atol=1e-5)


MODEL = make()


def test_the_kernels_compute_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who computes them is what `doctor` tells; here it is that they are asked at all."""
    expected = MODEL.embed(["MKV", "W"], "mean")
    called: Counter[str] = Counter()

    def spy(name: str) -> Callable[..., object]:
        real = getattr(kernels, name)

        def counted(*arguments: object) -> object:
            called[name] += 1
            return real(*arguments)

        return counted

    for name in {*kernels.FUSED, "linear", "linear_onto"}:
        monkeypatch.setattr(kernels, name, spy(name))
    for one, other in zip(MODEL.embed(["MKV", "W"], "mean"), expected, strict=True):
        np.testing.assert_array_equal(one, other)
    layers = CONFIG.layers
    assert called == {
        "add_layer_norm": 1,
        "linear": layers,
        "linear_gelu": layers,
        "linear_onto": 2 * layers,
        "varlen_attention": layers,
        "segment_mean": 1,
    }


@pytest.mark.parametrize(
    ("reading", "ids"),
    [
        (Reading(), [2, 17, 15]),
        (Reading(special_tokens="cls_sep"), [2, 17, 15, 3]),
        (Reading("fork"), [2, 17, 15, 3]),
        (Reading("fork", "cls"), [2, 17, 15]),
    ],
)
def test_special_tokens_are_fed_but_not_returned(reading: Reading, ids: list[int]) -> None:
    """M is row 17 and K row 15 of ProteinLM's vocabulary."""
    model = make(reading)
    hidden = model.encoder(torch.tensor([ids]))[0].numpy()
    residues, mean, first = (model.embed(["MK"], pool)[0] for pool in ("residues", "mean", "first"))
    np.testing.assert_allclose(residues, hidden[1:3], atol=1e-6)
    np.testing.assert_allclose(mean, hidden[1:3].mean(0), atol=1e-6)
    np.testing.assert_allclose(first, hidden[0], atol=1e-6)
    logits = model.token_logits([np.array([17, 15])])[0]
    assert logits.shape == (2, 31)
    expected = model.encoder.token_logits(torch.tensor([ids]))[0, 1:3].numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_the_fork_reading_differs_in_gelu_and_final_norm() -> None:
    fork = make(Reading("fork", "cls"))
    assert fork.config.gelu == "erf"
    raw = fork.embed(["MKV"])[0]
    assert np.abs(raw.mean(-1)).max() > 0.01, "the final layer norm would centre these"
    normed = make().embed(["MKV"])[0]
    np.testing.assert_allclose(normed.mean(-1), 0, atol=1e-5)


def test_layers_are_counted_from_the_embeddings_on() -> None:
    word = MODEL.encoder.word.weight[17] + MODEL.encoder.position.weight[1]
    np.testing.assert_allclose(make(Reading(layer=0)).embed(["M"])[0][0], word, atol=1e-6)
    np.testing.assert_allclose(
        make(Reading(layer=2)).embed(["MK"])[0], MODEL.embed(["MK"])[0], atol=1e-6
    )
    assert make(Reading(layer=1)).identity.layer == 1
    for layer in (-1, 3):
        with pytest.raises(ModelError, match=r"there is no layer"):
            make(Reading(layer=layer))


def test_a_model_says_who_it_is(source: RandomWeights, write: Callable[..., Path]) -> None:
    root = write(source, 2, 1, "1.0")
    model = load(str(root), device="cpu")
    identity = model.identity
    assert isinstance(model, Embedder)
    assert isinstance(model, MaskedLanguageModel)
    assert identity.spec == f"proteinlm:{root}"
    assert identity.name == "proteinlm-tp2_pp1_v1.0"
    assert identity.revision == "release"
    assert identity.longest_input == 39
    assert identity.pretraining == ("Pfam",)
    assert identity.dtype == "float32"
    assert not identity.control
    assert identity.parameters == sum(p.numel() for p in model.encoder.parameters())
    assert identity.reading == {
        "reading": "megatron",
        "special_tokens": "cls",
        "gelu": "tanh",
        "layernorm_eps": "1e-12",
        "checkpoint_version": "1.0",
        "qkv_order": "v1",
    }


def test_an_overridden_order_is_kept_and_told(
    source: RandomWeights, write: Callable[..., Path]
) -> None:
    model = load(str(write(source)), device="cpu", qkv_order="v0")
    assert model.identity.reading["qkv_order"] == "v0"
    assert any("as asked for" in note for note in model.notes)


@pytest.mark.parametrize(("tokens", "longest"), [("cls", 11), ("cls_sep", 10)])
def test_longer_sequences_are_refused(tokens: module.SpecialTokens, longest: int) -> None:
    model = make(Reading(special_tokens=tokens))
    assert model.identity.longest_input == longest
    assert model.embed(["M" * longest])[0].shape == (longest, 16)
    with pytest.raises(ModelError, match=f"has {longest + 1} residues") as caught:
        model.embed(["MKV", "M" * (longest + 1)])
    assert "sequence 2" in str(caught.value)
    with pytest.raises(ModelError, match="is empty"):
        model.embed(["MKV", ""])
    with pytest.raises(ModelError, match=f"has {longest + 1} residues"):
        model.token_logits([np.full(longest + 1, 6)])


def test_no_sequences_give_no_vectors() -> None:
    assert MODEL.embed([]) == []
    assert MODEL.token_logits([]) == []


class Overflowing(RandomWeights):
    """Values of the middle layer beyond float16's 65504, and well within float32."""

    def _draw(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        drawn = super()._draw(name, shape)
        if name == "layers.0.mlp.expand.bias":
            return drawn + 64_000
        return drawn * (20_000 if name == "layers.0.mlp.expand.weight" else 1)


@pytest.mark.usefixtures("half_precision_products")
def test_what_overflows_in_half_precision_is_computed_again() -> None:
    about = {"spec": "x", "name": "x", "pretraining": (), "device": "cpu"}
    model = ProteinLM(lambda: Overflowing(CONFIG, 3), Reading(), **about)  # type: ignore[arg-type]
    expected = model.embed(["MKVL", "GG"])
    assert model.embed_packed(["MKVL", "GG"], ["residues"]).recomputed == 0
    model.dtype = torch.float16
    model.encoder.half()
    packed = model.embed_packed(["MKVL", "GG"], ["residues"])
    found = packed.representations["residues"]
    assert packed.recomputed == 2
    assert model.encoder.word.weight.dtype == torch.float16
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=0.05)


def test_weights_that_are_no_numbers_are_refused() -> None:
    model = make()
    model.encoder.final_norm.weight.data[0] = float("nan")
    with pytest.raises(ModelError, match="not finite even in float32"):
        model.embed(["MKV"])


def test_a_fine_tuned_model_embeds_but_does_not_guess() -> None:
    import dataclasses

    weights = RandomWeights(dataclasses.replace(CONFIG, mlm_head=False), 0)
    about = {"spec": "x", "name": "x", "pretraining": (), "device": "cpu"}
    model = ProteinLM(lambda: weights, Reading(), **about)  # type: ignore[arg-type]
    assert model.embed(["MKV"])[0].shape == (3, 16)
    with pytest.raises(ModelError, match="no masked-language-model head"):
        model.token_logits([np.array([17])])


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_a_cpu_that_widens_weights_rounds_nothing_else(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sys.modules[kernels.linear.__module__], "_fast_bfloat16", lambda: False)
    model, rounded = make(dtype=name), make(dtype=name)
    rounded.encoder.float()
    for one, other in zip(model.embed(["MKVL", "G"]), rounded.embed(["MKVL", "G"]), strict=True):
        np.testing.assert_array_equal(one, other)
    assert model.encoder.word.weight.dtype == getattr(torch, name)
    assert (model.identity.dtype, model.identity.reading["arithmetic"]) == (name, "float32")


def test_arithmetic_is_told_only_where_it_is_another() -> None:
    assert "arithmetic" not in MODEL.identity.reading
    assert make(dtype="float16").identity.reading["arithmetic"] == "float32"


def test_bfloat16_is_close_to_float32() -> None:
    low = make(dtype="bfloat16")
    assert low.identity.dtype == "bfloat16"
    assert low.encoder.word.weight.dtype == torch.bfloat16
    (exact,), (rough,) = MODEL.embed(["MKVLAG"]), low.embed(["MKVLAG"])
    assert rough.dtype == np.float32
    # The residual stream is float32: what is off comes from the blocks' own rounding.
    assert np.abs(rough - exact).mean() < 0.02


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float8"}, "no dtype named 'float8'"),
        ({"device": "tpu9"}, "there is no device 'tpu9'"),
        ({"device": "meta"}, "'meta' is not supported"),
        ({"device": "cuda:77"}, "this machine has no device 'cuda:77'"),
    ],
)
def test_what_this_machine_cannot_do_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises((ModelError, UsageError), match=message):
        make(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [{"name": "pre-ln"}, {"special_tokens": "sep"}])
def test_unknown_readings_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="there is no"):
        Reading(**options)  # type: ignore[arg-type]


def test_a_path_is_needed() -> None:
    with pytest.raises(ModelError, match="proteinlm:PATH"):
        load(None)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("checkpoints/3B", "proteinlm-3b"),
        ("checkpoints/3b/iter_0123000", "proteinlm-3b"),
        ("3b/release/mp_rank_00/model_optim_rng.pt", "proteinlm-3b"),
        ("ProteinLM-200M", "proteinlm-200m"),
    ],
)
def test_names_come_from_the_checkpoints_folder(path: str, name: str) -> None:
    assert module._short_name(Path(path)) == name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_in_float16_is_close_to_a_cpu_in_float32() -> None:
    fast = make(dtype="float16", device="cuda")
    for one, other in zip(fast.embed(["MKVLAG", "G"]), MODEL.embed(["MKVLAG", "G"]), strict=True):
        assert np.abs(one - other).mean() < 0.005


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("heads", [40, 32])
@pytest.mark.parametrize(("name", "most"), [("float16", 3e-3), ("bfloat16", 2e-2)])
def test_a_wide_network_on_a_gpu_over_many_lengths(heads: int, name: str, most: float) -> None:
    """Heads of 64 and of 80, lengths on either side of every threshold, beside float32."""
    config = ProteinLMConfig(
        layers=2, hidden=2560, heads=heads, positions=1100, layernorm_eps=1e-12, gelu="tanh"
    )
    about = {"spec": "x", "name": "x", "pretraining": (), "device": "cuda"}

    def make(dtype: str) -> ProteinLM:
        return ProteinLM(lambda: RandomWeights(config, 0), Reading(), dtype=dtype, **about)  # type: ignore[arg-type]

    lengths = [1, 2, 15, 16, 17, 45, 45, 45, 63, 64, 65, 126, 127, 128, 129, 237, 400, 1000]
    proteins = synthetic.proteins(lengths)
    exact, low = make("float32"), make(name)
    for pool in ("residues", "mean", "first"):
        for one, other in zip(low.embed(proteins, pool), exact.embed(proteins, pool), strict=True):
            assert np.linalg.norm(one - other) < most * np.linalg.norm(other)
    alone = [low.embed([protein], "mean")[0] for protein in proteins]
    for one, other in zip(alone, low.embed(proteins, "mean"), strict=True):
        # Products are computed in other pieces for another number of tokens: no bits, but nearly.
        assert np.linalg.norm(one - other) < most * np.linalg.norm(other)


def test_attention_maps_are_of_each_layer_and_head():
    """By hand for the first layer; further ones need what the network itself computes."""
    sequence = "MKVLAAGW"
    maps = list(MODEL.attention_maps(sequence))
    assert isinstance(MODEL, AttentionMaps)
    assert [one.shape for one in maps] == [(CONFIG.heads, 8, 8)] * CONFIG.layers
    encoder = MODEL.encoder
    ids = torch.tensor([MODEL.vocabulary.cls, *MODEL.vocabulary.encode(sequence).tolist()])
    x = encoder.word.weight[ids] + encoder.position.weight[: len(ids)]
    first = encoder.layers[0]
    norm = first.attention_norm
    x = torch.nn.functional.layer_norm(x, (16,), norm.weight, norm.bias, norm.eps)
    query, key, _ = first.attention.qkv(x).view(len(ids), CONFIG.heads, 3, -1).unbind(2)
    scores = torch.einsum("qhc,khc->hqk", query, key) / query.shape[-1] ** 0.5
    np.testing.assert_allclose(maps[0], scores.softmax(-1)[:, 1:, 1:].numpy(), atol=1e-5)
    for one in maps:
        assert (one.sum(axis=-1) <= 1 + 1e-5).all()
