"""What is read of a model that no family fits, and what is said where nothing can be."""

from __future__ import annotations

import json
from pathlib import Path

import hub_models
import numpy as np
import pytest

from tape_bench.errors import CheckpointError, ModelError, UsageError
from tape_bench.models.huggingface.loading import load

RECIPE = """
family = "lower"
architecture = "BertModel"
masked = "BertForMaskedLM"
residue = "aa_{}"
before = ["<s>"]
after = ["</s>"]
pad = "<p>"
mask = "<m>"
longest = 40
letters = { U = "C", X = "<m>" }
"""


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """A BERT whose tokens are called otherwise than anybody's."""
    folder = hub_models.make("antiberty", tmp_path / "unknown")
    words = ["<p>", "<u>", "<s>", "</s>", "<m>", *(f"aa_{a}" for a in "ACDEFGHIKLMNPQRSTVWY")]
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


def test_an_unknown_model_asks_for_a_recipe(unknown: Path):
    with pytest.raises(ModelError, match=r"no known family: model_type 'bert'") as caught:
        load(str(unknown))
    assert "-M recipe=" in str(caught.value)


def test_a_recipe_says_how_it_is_read(unknown: Path, tmp_path: Path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    known = load(str(hub_models.make("antiberty", tmp_path / "known")))
    model = load(str(unknown), recipe=tmp_path / "recipe.toml")
    np.testing.assert_array_equal(model.embed(["MKTA"])[0], known.embed(["MKTA"])[0])
    np.testing.assert_array_equal(model.embed(["MUTA"])[0], known.embed(["MCTA"])[0])
    np.testing.assert_array_equal(model.embed(["MXTA"])[0], known.embed(["MXTA"])[0])
    assert model.identity.longest_input == 40
    assert model.identity.reading["letters"] == "U as C, X as <m>"
    assert model.identity.reading["special_tokens"] == "<s> aa_… </s>"
    with pytest.raises(ModelError, match="'B' at residue 2"):
        model.embed(["MB"])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (("pad = ", "pads = "), "pads: Extra inputs"),
        (('"<p>"', '"<q>"'), "no token '<q>'"),
        (('"aa_{}"', '"aa"'), "no {} for the letter"),
        (("longest = 40", "longest = -1"), "longest"),
        (('"BertModel"', '"os.system"'), "architecture"),
        (("BertForMaskedLM", "pipeline"), "masked"),
        (("family", "fam ily"), "no TOML"),
        (('mask = "<m>"', ""), "name the mask token"),
    ],
)
def test_faulty_recipes(unknown: Path, tmp_path: Path, change: tuple[str, str], fault: str):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace(*change))
    with pytest.raises(ModelError, match=fault):
        load(str(unknown), recipe=path).embed(["MKTA"])


def test_recipes_that_are_no_file(unknown: Path, tmp_path: Path):
    with pytest.raises(ModelError, match="cannot read the recipe"):
        load(str(unknown), recipe=tmp_path / "none.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 17))
    with pytest.raises(ModelError, match="too large"):
        load(str(unknown), recipe=tmp_path / "large.toml")


def test_folders_that_are_no_models(tmp_path: Path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ModelError, match="cannot read the model's configuration"):
        load(str(empty))
    (empty / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match="not a model's configuration"):
        load(str(empty))
    with pytest.raises(UsageError, match="no folder, no short name"):
        load(str(tmp_path / "missing"))
    with pytest.raises(UsageError, match="needs a model"):
        load(None)


def test_a_folder_without_tokenizer(tmp_path: Path):
    for family in ("esm2", "prott5"):
        folder = hub_models.make(family, tmp_path / family)
        for name in ("vocab.txt", "spiece.model", "tokenizer_config.json"):
            (folder / name).unlink(missing_ok=True)
        with pytest.raises(ModelError, match=r"tokenizer|token"):
            load(str(folder))


def test_a_folder_without_weights(tmp_path: Path):
    folder = hub_models.make("esm2", tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="there are no weights"):
        load(str(folder)).embed(["MK"])


def test_tokenizer_and_weights_of_two_models(tmp_path: Path):
    folder = hub_models.make("esm2", tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 20}))
    with pytest.raises(ModelError, match="33 tokens, the network 20"):
        load(str(folder))


def test_a_class_that_the_library_has_not(unknown: Path, tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("BertForMaskedLM", "NoSuchModel"))
    with pytest.raises(ModelError, match="has no NoSuchModel"):
        load(str(unknown), recipe=path, engine="transformers").embed(["MKTA"])
