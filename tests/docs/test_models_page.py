"""docs/models.md is true: every class on it runs as printed, and reads its model rightly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tape_bench import evaluate, load_model
from tape_bench.cli import program
from tape_bench.errors import ModelError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
BLOCKS = {
    text.splitlines()[0].lstrip("# "): text
    for text in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
}
"""Python on the page, by the file name in its first line."""
TRIAL: dict[str, Any] = {"data": "sample", "limit": 60, "head": "linear"}


@pytest.fixture(autouse=True)
def _as_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder that has the page's files."""
    monkeypatch.chdir(tmp_path)
    for name, text in BLOCKS.items():
        if name.endswith(".py") and " " not in name:
            Path(name).write_text(text)
    with Path("esm2.py").open("a") as file:
        file.write(BLOCKS["append to esm2.py"])


def test_the_page_has_the_files_that_are_tested_here():
    assert sorted(BLOCKS) == [
        "append to esm2.py", "elsewhere.py", "esm2.py", "mine.py", "sequences.py"
    ]  # fmt: skip


def test_the_smallest_class_runs():
    (record,) = evaluate("python:mine.py:Mine", "stability", out="out", **TRIAL)
    assert record.status == "complete"
    assert record.model.hidden_size == 20
    (rows,) = load_model("python:mine.py:Mine").embed(["ACDY"])
    assert rows.argmax(axis=1).tolist() == [0, 1, 2, 19]


def test_vectors_computed_elsewhere_score_as_where_they_were_computed():
    exec(compile(BLOCKS["sequences.py"], "sequences.py", "exec"), {})
    lines = Path("proteins.fasta").read_text().splitlines()
    ids, sequences = [line[1:] for line in lines[::2]], lines[1::2]
    vectors = load_model("onehot").embed(sequences)
    np.savez("vectors.npz", **dict(zip(ids, vectors, strict=True)))
    (there,) = evaluate("onehot", "stability", out="out", **TRIAL)
    (here,) = evaluate("python:elsewhere.py:Elsewhere", "stability", out="out", **TRIAL)
    assert here.metrics == there.metrics
    assert (here.model.revision, here.model.hidden_size) != (there.model.revision, None)
    with pytest.raises(ModelError, match="no vectors of this protein"):
        load_model("python:elsewhere.py:Elsewhere").embed(["MKT"])


class TestEsm2:
    """On a small random network in the folder that the page's checkpoint would be."""

    SEQUENCES = ("MKTAYIAKQR", "ACXBUZO", "W")

    @pytest.fixture
    def esm(self):
        return pytest.importorskip("transformers", reason="the transformers library is not here")

    def make(self, esm, folder: str, seed: int):
        """Save a network and the tokenizer of ESM-2, and return the network."""
        import torch

        vocabulary = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-",
                      "<null_1>", "<mask>"]  # fmt: skip
        Path(folder).mkdir(parents=True)
        Path("vocab.txt").write_text("\n".join(vocabulary))
        esm.EsmTokenizer("vocab.txt").save_pretrained(folder)
        config = esm.EsmConfig(
            vocab_size=33, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32, position_embedding_type="rotary", pad_token_id=1,
            mask_token_id=32, token_dropout=True, max_position_embeddings=1026,
        )  # fmt: skip
        torch.manual_seed(seed)
        network = esm.EsmForMaskedLM(config).eval()
        for weight in network.parameters():  # far from zero, so that a slip shows
            torch.nn.init.normal_(weight, std=0.3)
        network.save_pretrained(folder)
        self.vocabulary = vocabulary
        return network.esm

    def by_hand(self, network, sequence: str) -> np.ndarray:
        """Represent one protein alone, token by token, special tokens cut off."""
        import torch

        ids = [0, *(self.vocabulary.index(letter) for letter in sequence), 2]
        with torch.inference_mode():
            whole = network(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.long))
        return whole.last_hidden_state[0].numpy()

    def test_it_reads_each_residue_where_it_stands(self, esm):
        network = self.make(esm, "facebook/esm2_t6_8M_UR50D", seed=0)
        model = load_model("python:esm2.py:Esm2", device="cpu")
        assert model.identity.hidden_size == 16
        batch = {pool: model.embed(self.SEQUENCES, pool) for pool in ("residues", "mean", "first")}
        for index, sequence in enumerate(self.SEQUENCES):
            whole = self.by_hand(network, sequence)
            for pool, rows in (
                ("residues", whole[1:-1]), ("mean", whole[1:-1].mean(0)), ("first", whole[0])
            ):  # fmt: skip
                found = batch[pool][index]
                assert found.dtype == np.float32
                assert found.shape == rows.shape
                np.testing.assert_allclose(found, rows, atol=2e-5)

    def test_it_runs(self, esm):
        self.make(esm, "facebook/esm2_t6_8M_UR50D", seed=0)
        command = ["run", "python:esm2.py:Esm2", "-t", "stability", "--data", "sample", "--limit",
                   "60", "--head", "linear", "--out", "out", "--dtype", "bfloat16", "--json",
                   "--quiet"]  # fmt: skip
        done = CliRunner().invoke(program, command, catch_exceptions=False)
        (record,) = json.loads(done.stdout)
        assert record["status"] == "complete"
        assert (record["model"]["name"], record["model"]["dtype"]) == (
            "esm2_t6_8m_ur50d", "bfloat16"
        )  # fmt: skip

    def test_letters_that_it_would_merge_are_refused(self, esm):
        self.make(esm, "facebook/esm2_t6_8M_UR50D", seed=0)
        with pytest.raises(ModelError, match="4 residues became"):
            load_model("python:esm2.py:Esm2").embed(["mktA"])

    def test_weights_that_are_not_in_the_file_are_refused(self, esm):
        from safetensors.torch import load_file, save_file

        self.make(esm, "facebook/esm2_t6_8M_UR50D", seed=0)
        file = Path("facebook/esm2_t6_8M_UR50D/model.safetensors")
        weights = load_file(file)
        del weights["esm.encoder.layer.1.output.dense.weight"]
        save_file(weights, file, metadata={"format": "pt"})
        with pytest.raises(ModelError, match="lacks 1 weights"):
            load_model("python:esm2.py:Esm2")

    def test_a_fine_tuned_checkpoint(self, esm):
        self.make(esm, "facebook/esm2_t6_8M_UR50D", seed=0)
        tuned = self.make(esm, "tuned/on-stability", seed=1)
        model = load_model("python:esm2.py:Tuned", device="cpu")
        assert model.identity.name == "on-stability"
        found = model.embed(["MKT"])[0]
        np.testing.assert_allclose(found, self.by_hand(tuned, "MKT")[1:-1], atol=2e-5)
