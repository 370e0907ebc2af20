"""A model of another family is one file and a registry line: every verb takes it as it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tape_bench import registry
from tape_bench.cli import program
from tape_bench.models import load_model
from tape_bench.models.embedder import (
    AttentionMaps,
    Described,
    Embedder,
    MaskedLanguageModel,
    Noted,
    PackedEmbedder,
)

ADAPTER = '''
"""A model that knows how common letters are, and looks at the residue before."""

import numpy as np

from tape_bench.data.vocabulary import Vocabulary
from tape_bench.models.embedder import Identity, Network, Packed

LETTERS = "ACDEFGHIKLMNPQRSTVWYBJOUXZ"


class Frequencies:
    vocabulary = Vocabulary("letters", ("<mask>", *LETTERS), 0, 0, 0, 0)
    special_tokens = 1
    notes = ("letters are counted, not learned",)

    def __init__(self, width, sharp):
        self.width, self.sharp = width, sharp
        self.identity = Identity(
            spec="letters", name=f"letters-{width}", revision="1", weights_digest="a" * 64,
            parameters=0, hidden_size=width, longest_input=200, pretraining=(),
            reading={"sharp": str(sharp)},
        )

    def describe(self):
        return Network(layers=1, hidden=self.width, inner=2, dtype="float32", device="cpu")

    def tokens_per_launch(self):
        return 300

    def _rows(self, sequence):
        ids = np.array([LETTERS.index(letter) for letter in sequence])
        return np.cos(np.outer(ids + 1, np.arange(1, self.width + 1))).astype(np.float32)

    def embed(self, sequences, pool="residues"):
        return self.embed_packed(sequences, [pool]).representations[pool]

    def embed_packed(self, sequences, pools):
        read = {"residues": lambda r: r, "mean": lambda r: r.mean(axis=0), "first": lambda r: r[0]}
        rows = [self._rows(sequence) for sequence in sequences]
        found = {pool: [read[pool](one) for one in rows] for pool in pools}
        return Packed(found, tokens=sum(map(len, sequences)) + len(sequences))

    def token_logits(self, token_ids):
        row = np.zeros(len(self.vocabulary.tokens), np.float32)
        row[self.vocabulary.encode("L")] = self.sharp
        return [np.tile(row, (len(ids), 1)) for ids in token_ids]

    def attention_maps(self, sequence):
        yield np.eye(len(sequence), k=-1, dtype=np.float32)[None]


def load(argument, *, width: int = 4, sharp: bool = True):
    """Load it.

    Args:
        argument: nothing.
        width: numbers a residue.
        sharp: whether leucine
            is likelier than the others.
    """
    return Frequencies(width, sharp)
'''


@pytest.fixture(autouse=True)
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "letters_model.py").write_text(ADAPTER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "letters_model", raising=False)
    entry = registry.ModelEntry("letters_model:load", "letters:NOTHING", "counts letters")
    monkeypatch.setitem(registry.MODELS, "letters", entry)


def told(*arguments: object) -> str:
    result = CliRunner().invoke(program, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_it_can_what_it_has_the_members_for():
    model = load_model("letters", width="5")
    for promise in (
        Embedder, PackedEmbedder, MaskedLanguageModel, AttentionMaps, Described, Noted,
    ):  # fmt: skip
        assert isinstance(model, promise)
    assert model.identity.hidden_size == 5
    assert not isinstance(load_model("onehot"), AttentionMaps | MaskedLanguageModel | Described)
    (only,) = model.attention_maps("MKV")
    assert only.shape == (1, 3, 3)


def test_run(tmp_path: Path):
    options = ["--data", "sample", "--limit", 20, "-t", "fluorescence", "--out", tmp_path / "out"]
    (record,) = json.loads(told("run", "letters", "-M", "width=3", *options, "--json"))
    assert record["status"] == "complete"
    assert record["model"]["name"] == "letters-3"


def test_embed_and_perplexity(tmp_path: Path):
    fasta = tmp_path / "two.fasta"
    fasta.write_text(">a\nMLLV\n>b\nLLK\n")
    told("embed", "letters", fasta, "-o", tmp_path / "v.npz", "--pool", "mean")
    with np.load(tmp_path / "v.npz") as vectors:
        assert vectors["vectors"].shape == (2, 4)
    found = json.loads(told("perplexity", "letters", fasta, "--every-residue", "--json"))
    # log p is 1 - log(e + 26) of a leucine, and -log(e + 26) of any other of the 27 tokens.
    assert found["loss"] == pytest.approx(np.log(np.e + 26) - 4 / 7, rel=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_bench():
    found = json.loads(told("bench", "letters", "--proteins", 8, "--lengths", 50, "--json"))
    speed = found["embedding"]
    assert (speed["launched_tokens"], speed["padding"]) == (8 * 51, 0)
    # One layer, four wide: 4 * 16 weights around attention, 2 * 4 * 2 in the perceptron.
    useful = 8 * (2 * (64 + 16) * 50 + 4 * 4 * 50 * 50)
    assert speed["useful_flops_per_second"] * speed["seconds"] == pytest.approx(useful)


def test_models_tells_what_its_loader_says():
    shown = told("models", "letters")
    assert "-M width=…  a whole number\n  numbers a residue." in shown
    assert "-M sharp=…  true or false\n  whether leucine is likelier than the others." in shown


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["width=wide"], "width is a whole number, not 'wide'"),
        (["sharp=perhaps"], "sharp is true or false, not 'perhaps'"),
        (["wdith=3"], "'letters' has no option 'wdith'"),
        (["width=3", "width=4"], "width is given twice"),
        (["width"], "'width' is not KEY=VALUE"),
        (["layer=3"], "-M layer=… is written --layer"),
    ],
)
def test_an_option_it_has_not_or_a_value_it_cannot_be(monkeypatch, capsys, pairs, said):
    from tape_bench.cli import main

    options = [part for pair in pairs for part in ("-M", pair)]
    for verb in (["run"], ["bench"], ["models", "letters:x"]):
        spec = [] if len(verb) > 1 else ["letters"]
        monkeypatch.setattr(sys, "argv", ["tape-bench", *verb, *spec, *options])
        with pytest.raises(SystemExit) as exit:
            main()
        assert exit.value.code == 2
        assert said in capsys.readouterr().err
