"""TAPE's transformer against a slow re-derivation in numpy, and against TAPE's own code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import erf, softmax

from tape_bench.errors import ModelError, UsageError
from tape_bench.models.embedder import Embedder, MaskedLanguageModel
from tape_bench.models.tape_bert import adapter

SEQUENCES = ["MKVLAAGWX", "A", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEV", "ACDEFGHIK", "MK"]


class SlowBert:
    """The same network, written from the BERT paper in numpy: one sequence, float64, loops."""

    def __init__(self, config: dict, arrays: dict) -> None:
        self.config = config
        self.arrays = arrays

    def hidden(self, ids: list[int], layers: int | None = None) -> np.ndarray:
        a = {name.removeprefix("bert."): array for name, array in self.arrays.items()}
        x = np.stack(
            [
                a["embeddings.word_embeddings.weight"][token]
                + a["embeddings.position_embeddings.weight"][place]
                + a["embeddings.token_type_embeddings.weight"][0]
                for place, token in enumerate(ids)
            ]
        )
        x = self.norm("embeddings.LayerNorm", x, a)
        for number in range(self.config["num_hidden_layers"] if layers is None else layers):
            layer = f"encoder.layer.{number}"
            q, k, v = (
                self.dense(f"{layer}.attention.self.{part}", x, a)
                for part in ("query", "key", "value")
            )
            heads = self.config["num_attention_heads"]
            size = self.config["hidden_size"] // heads
            mixed = np.zeros_like(x)
            for head in range(heads):
                own = slice(head * size, (head + 1) * size)
                mixed[:, own] = softmax(q[:, own] @ k[:, own].T / size**0.5, axis=1) @ v[:, own]
            mixed = self.dense(f"{layer}.attention.output.dense", mixed, a)
            x = self.norm(f"{layer}.attention.output.LayerNorm", x + mixed, a)
            wide = self.gelu(self.dense(f"{layer}.intermediate.dense", x, a))
            narrow = self.dense(f"{layer}.output.dense", wide, a)
            x = self.norm(f"{layer}.output.LayerNorm", x + narrow, a)
        return x

    def logits(self, ids: list[int]) -> np.ndarray:
        x = self.gelu(self.dense("mlm.transform.dense", self.hidden(ids), self.arrays))
        x = self.norm("mlm.transform.LayerNorm", x, self.arrays)
        return x @ self.arrays["mlm.decoder.weight"].T + self.arrays["mlm.bias"]

    @staticmethod
    def dense(name: str, x: np.ndarray, a: dict) -> np.ndarray:
        return x @ a[f"{name}.weight"].T + a[f"{name}.bias"]

    def norm(self, name: str, x: np.ndarray, a: dict) -> np.ndarray:
        spread = np.sqrt(x.var(axis=1, keepdims=True) + self.config["layer_norm_eps"])
        x = (x - x.mean(axis=1, keepdims=True)) / spread
        return x * a[f"{name}.weight"] + a[f"{name}.bias"]

    @staticmethod
    def gelu(x: np.ndarray) -> np.ndarray:
        return x * (1 + erf(x / 2**0.5)) / 2


@pytest.fixture
def slow(tape_files) -> SlowBert:
    return SlowBert(tape_files.CONFIG, tape_files.weights())


def ids_of(sequence: str) -> list[int]:
    # TAPE's vocabulary: five special tokens, then the capitals without J.
    return [2, *("ABCDEFGHIKLMNOPQRSTUVWXYZ".index(letter) + 5 for letter in sequence), 3]


class TestNetwork:
    @pytest.fixture
    def model(self, tape_folder: str) -> adapter.TapeBertEmbedder:
        return adapter.load(tape_folder, dtype="float64")

    def test_hidden_states_are_those_of_a_slow_derivation(self, model, slow):
        tokens = [ids_of(sequence) for sequence in SEQUENCES]
        with torch.inference_mode():
            found = model.network(
                torch.from_numpy(np.concatenate(tokens)), [len(ids) for ids in tokens]
            )
        expected = np.concatenate([slow.hidden(ids) for ids in tokens])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)

    def test_logits_are_those_of_a_slow_derivation(self, model, slow):
        ids = ids_of(SEQUENCES[2])
        with torch.inference_mode():
            hidden = model.network(torch.tensor(ids), [len(ids)])
            found = model.network.logits(hidden)
        np.testing.assert_allclose(found, slow.logits(ids), rtol=0, atol=1e-10)

    @pytest.mark.parametrize("layer", [0, 1, 2])
    def test_a_layer_is_the_state_after_so_many_blocks(self, tape_folder, layer, slow):
        found = adapter.load(tape_folder, layer=layer).embed(["MKVLA"])[0]
        expected = slow.hidden(ids_of("MKVLA"), layers=layer)[1:-1]
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


class TestEmbed:
    def test_is_an_embedder_and_a_masked_language_model(self, tape_folder):
        model = adapter.load(tape_folder)
        assert isinstance(model, Embedder)
        assert isinstance(model, MaskedLanguageModel)

    def test_leaves_special_tokens_out(self, tape_folder, slow):
        found = adapter.load(tape_folder).embed(SEQUENCES)
        assert [one.shape for one in found] == [(len(s), 24) for s in SEQUENCES]
        assert {one.dtype for one in found} == {np.dtype(np.float32)}
        for sequence, one in zip(SEQUENCES, found, strict=True):
            expected = slow.hidden(ids_of(sequence))[1:-1]
            np.testing.assert_allclose(one, expected, rtol=0, atol=2e-5)

    @pytest.mark.parametrize("pool", ["residues", "mean", "first"])
    def test_batches_change_nothing(self, tape_folder, pool, monkeypatch):
        model = adapter.load(tape_folder)
        together = model.embed(SEQUENCES, pool)
        single = [model.embed([sequence], pool)[0] for sequence in SEQUENCES]
        monkeypatch.setitem(adapter.TOKENS_PER_LAUNCH, "cpu", 15)
        launches = model.embed(SEQUENCES, pool)
        for a, b, c in zip(together, single, launches, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
            np.testing.assert_allclose(c, b, rtol=0, atol=1e-5)

    def test_pools(self, tape_folder, tape_files, slow):
        model = adapter.load(tape_folder)
        hidden = slow.hidden(ids_of("MKVLA"))
        close = {"rtol": 0, "atol": 2e-5}
        np.testing.assert_allclose(model.embed(["MKVLA"], "mean")[0], hidden[1:-1].mean(0), **close)
        np.testing.assert_allclose(model.embed(["MKVLA"], "first")[0], hidden[0], **close)
        tanh = adapter.load(tape_folder, first="tanh")
        pooled = np.tanh(slow.dense("bert.pooler.dense", hidden[0], tape_files.weights()))
        np.testing.assert_allclose(tanh.embed(["MKVLA"], "first")[0], pooled, **close)
        assert (model.identity.reading["first"], tanh.identity.reading["first"]) == (
            "token",
            "tanh",
        )

    def test_bfloat16_is_near(self, tape_folder):
        exact = adapter.load(tape_folder).embed(SEQUENCES)
        model = adapter.load(tape_folder, dtype="bfloat16")
        for a, b in zip(model.embed(SEQUENCES), exact, strict=True):
            assert np.abs(a - b).mean() < 0.05
        assert model.identity.dtype == "bfloat16"

    def test_positions_are_the_limit(self, tape_folder):
        model = adapter.load(tape_folder)
        longest = model.identity.longest_input
        assert longest == 32
        model.embed(["A" * longest])
        for compute in (
            lambda: model.embed(["A" * (longest + 1)]),
            lambda: model.token_logits([np.full(longest + 1, 5)]),
        ):
            with pytest.raises(ModelError, match="33 residues is longer than the 32"):
                compute()

    @pytest.mark.parametrize(("sequence", "message"), [("", "empty"), ("MKJ", "'J' at residue 3")])
    def test_refuses(self, tape_folder, sequence, message):
        with pytest.raises(ModelError, match=message):
            adapter.load(tape_folder).embed(["MK", sequence])

    def test_nothing_in_nothing_out(self, tape_folder):
        assert adapter.load(tape_folder).embed([]) == []


class TestTokenLogits:
    def test_one_row_a_residue(self, tape_folder, slow):
        model = adapter.load(tape_folder)
        tokens = [np.array(ids_of(sequence)[1:-1]) for sequence in SEQUENCES]
        tokens[0][3] = 1  # masked
        for ids, found in zip(tokens, model.token_logits(tokens), strict=True):
            expected = slow.logits([2, *ids, 3])[1:-1]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)

    def test_always_from_the_last_layer(self, tape_folder):
        ids = [np.arange(5, 15)]
        last, first = adapter.load(tape_folder), adapter.load(tape_folder, layer=1)
        np.testing.assert_array_equal(first.token_logits(ids)[0], last.token_logits(ids)[0])

    def test_a_bare_encoder_has_none(self, tmp_path, tape_files):
        model = adapter.load(
            tape_files.write(tmp_path / "bare", tape_files.weights(masked_head=False, prefix=""))
        )
        with pytest.raises(ModelError, match="no masked-language-model head"):
            model.token_logits([np.array([5])])


class TestLoad:
    def test_with_or_without_prefix_it_is_the_same_encoder(self, tmp_path, tape_files):
        one = adapter.load(
            tape_files.write(tmp_path / "one", tape_files.weights(masked_head=False))
        )
        two = adapter.load(
            tape_files.write(tmp_path / "two", tape_files.weights(masked_head=False, prefix=""))
        )
        np.testing.assert_array_equal(one.embed(["MKV"])[0], two.embed(["MKV"])[0])
        assert one.identity.weights_digest == two.identity.weights_digest

    def test_files_older_than_torch_1_6_load_too(self, tmp_path, tape_folder, tape_files):
        old = tape_files.write(
            tmp_path / "old", tape_files.weights(), _use_new_zipfile_serialization=False
        )
        a, b = adapter.load(old), adapter.load(tape_folder)
        assert a.identity.weights_digest == b.identity.weights_digest

    def test_float32_weights_are_mapped_not_copied(self, tmp_path, tape_files):
        arrays = {name: array.astype(np.float32) for name, array in tape_files.weights().items()}
        model = adapter.load(tape_files.write(tmp_path / "single", arrays))
        start = model.network.words.weight.data_ptr()
        maps = [
            line.split()
            for line in Path("/proc/self/maps").read_text().splitlines()
            if line.endswith("pytorch_model.bin")
        ]
        areas = [[int(edge, 16) for edge in fields[0].split("-")] for fields in maps]
        assert any(low <= start < high for low, high in areas)

    def test_identity(self, tape_folder, tape_files):
        identity = adapter.load(tape_folder).identity
        total = sum(a.size for n, a in tape_files.weights().items() if n != "mlm.decoder.weight")
        assert identity.parameters == total
        assert identity.name == "tape_bert-bert"
        assert identity.spec == f"tape_bert:{tape_folder}"
        assert identity.pretraining is None
        assert identity.reading["special_tokens"] == "cls_sep"

    def test_another_weight_is_another_digest(self, tmp_path, tape_folder, tape_files):
        other = tape_files.weights()
        other["mlm.bias"][3] += 1
        a, b = (
            adapter.load(tape_folder),
            adapter.load(tape_files.write(tmp_path / "other", other)),
        )
        assert a.identity.weights_digest != b.identity.weights_digest

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"layer": 4}, "no layer 4"),
            ({"layer": -1}, "no layer -1"),
            ({"dtype": "int8"}, "'int8'"),
            ({"dtype": "float16"}, "slower"),
            ({"device": "abacus"}, "abacus"),
            ({"first": "last"}, "'last'"),
        ],
    )
    def test_options_out_of_range(self, tape_folder, options, message):
        with pytest.raises((UsageError, ModelError), match=message):
            adapter.load(tape_folder, **options)

    def test_needs_a_folder(self):
        with pytest.raises(UsageError, match="folder"):
            adapter.load(None)


class TestAgainstTape:
    """TAPE's own PyTorch code (`pip install tape_proteins`) on its own random weights."""

    @pytest.fixture
    def theirs(self, tape_files):
        tape = pytest.importorskip("tape")
        torch.manual_seed(7)
        config = tape.ProteinBertConfig(**tape_files.CONFIG, initializer_range=0.3)
        model = tape.ProteinBertForMaskedLM(config).eval()
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:  # biases and norms start at 0 and 1: nothing would show
                torch.nn.init.normal_(parameter, mean=float("Norm.weight" in name), std=0.2)
        return model

    def test_hidden_states_pooled_vectors_and_logits(self, theirs, tmp_path):
        theirs.save_pretrained(tmp_path)
        model = adapter.load(str(tmp_path))
        pooling = adapter.load(str(tmp_path), first="tanh")
        lengths = [len(sequence) + 2 for sequence in SEQUENCES]
        ids = torch.zeros(len(SEQUENCES), max(lengths), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(SEQUENCES):
            ids[row, : lengths[row]] = torch.tensor(ids_of(sequence))
            mask[row, : lengths[row]] = 1
        with torch.inference_mode():
            hidden, pooled = theirs.bert(ids, input_mask=mask)
            (logits,) = theirs(ids, input_mask=mask)
        ours = model.embed(SEQUENCES)
        tokens = [np.array(ids_of(sequence)[1:-1]) for sequence in SEQUENCES]
        our_logits = model.token_logits(tokens)
        our_pooled = pooling.embed(SEQUENCES, "first")
        for row, length in enumerate(lengths):
            residues = slice(1, length - 1)
            np.testing.assert_allclose(ours[row], hidden[row, residues], rtol=0, atol=2e-5)
            np.testing.assert_allclose(our_pooled[row], pooled[row], rtol=0, atol=2e-5)
            np.testing.assert_allclose(our_logits[row], logits[row, residues], rtol=1e-5, atol=1e-4)

    def test_a_bare_encoder(self, theirs, tmp_path):
        theirs.bert.save_pretrained(tmp_path)
        found = adapter.load(str(tmp_path)).embed(["MKVLA"])[0]
        with torch.inference_mode():
            expected = theirs.bert(torch.tensor([ids_of("MKVLA")]))[0][0, 1:-1]
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_vectors_that_overflow_are_refused(tmp_path: Path, tape_files):
    arrays = tape_files.weights()
    name = next(n for n in arrays if n.endswith("encoder.layer.0.output.dense.weight"))
    arrays[name] = np.full_like(arrays[name], 3e38)
    with pytest.raises(ModelError, match="the vectors are not finite"):
        adapter.load(tape_files.write(tmp_path, arrays)).embed(["MKVLA"])
