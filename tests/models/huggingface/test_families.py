"""Tiny random models of every family on the hub, each against the library's own documented use."""

from __future__ import annotations

from pathlib import Path

import hub_models
import numpy as np
import pytest
import torch
import transformers

from tape_bench.errors import ModelError
from tape_bench.models.embedder import AttentionMaps, MaskedLanguageModel, PackedEmbedder
from tape_bench.models.huggingface.loading import load

SEQUENCES = [
    "MKVLXXXXAG",
    "A",
    "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEV",
    "BUZOXA",
    "ACDEFGHIKLMNPQRSTVWY",
]
PROTEIN = SEQUENCES[2]
MASKED = ("esm2", "esm1", "saprot", "esmc", "protbert", "antiberty")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("hub")
    return {family: hub_models.make(family, place / family) for family in hub_models.FAMILIES}


def documented(family: str, folder: Path, sequence: str) -> np.ndarray:
    """Represent residues by the library alone, as the model's own page shows."""
    spaced = " ".join(sequence)
    if family in ("esm2", "esm1", "saprot", "esmc"):
        model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32)
        own = transformers.EsmcTokenizer if family == "esmc" else transformers.EsmTokenizer
        tokenizer = own.from_pretrained(folder)
        given = "".join(f"{letter}#" for letter in sequence) if family == "saprot" else sequence
        ids, rows = tokenizer(given, return_tensors="pt"), slice(1, len(sequence) + 1)
    elif family in ("protbert", "antiberty"):
        model = transformers.BertModel.from_pretrained(folder, dtype=torch.float32)
        tokenizer = transformers.BertTokenizer.from_pretrained(folder, do_lower_case=False)
        ids, rows = tokenizer(spaced, return_tensors="pt"), slice(1, len(sequence) + 1)
    else:
        model = transformers.T5EncoderModel.from_pretrained(folder, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        before = {"prostt5": ["<AA2fold>"], "ankh3": ["[NLU]"]}.get(family, [])
        mark = "▁" if family.startswith("pro") else ""
        words = [*before, *(mark + letter for letter in sequence), "</s>"]
        ids = {"input_ids": torch.tensor([tokenizer.convert_tokens_to_ids(words)])}
        rows = slice(len(before), len(before) + len(sequence))
    with torch.inference_mode():
        return model.eval()(**ids).last_hidden_state[0, rows].numpy()


@pytest.mark.parametrize("family", hub_models.FAMILIES)
class TestEveryFamily:
    def test_is_told_by_configuration_and_vocabulary(self, family: str, folders: dict[str, Path]):
        model = load(str(folders[family]))
        assert model.recipe.family == family
        assert isinstance(model, PackedEmbedder)
        assert isinstance(model, AttentionMaps)
        assert isinstance(model, MaskedLanguageModel) == (family in MASKED)

    def test_gives_what_the_library_gives(self, family: str, folders: dict[str, Path]):
        (ours,) = load(str(folders[family]), dtype="float32").embed([PROTEIN])
        theirs = documented(family, folders[family], PROTEIN)
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * abs(theirs).max())

    def test_batches_and_order_change_nothing(self, family: str, folders: dict[str, Path]):
        model = load(str(folders[family]))
        together = model.embed(SEQUENCES)
        backwards = model.embed(SEQUENCES[::-1])[::-1]
        for sequence, one, other in zip(SEQUENCES, together, backwards, strict=True):
            (alone,) = model.embed([sequence])
            assert alone.shape == (len(sequence), 24)
            np.testing.assert_allclose(one, alone, atol=1e-5 * abs(alone).max())
            np.testing.assert_allclose(other, alone, atol=1e-5 * abs(alone).max())

    def test_each_row_is_of_its_residue(self, family: str, folders: dict[str, Path]):
        """Embeddings know no neighbours: of them, one row moves with one residue."""
        model = load(str(folders[family]), layer=0)
        (before,) = model.embed([PROTEIN])
        (after,) = model.embed([PROTEIN[:7] + "W" + PROTEIN[8:]])
        assert np.flatnonzero(abs(after - before).max(axis=1) > 1e-6).tolist() == [7]

    def test_chosen_layers_are_the_librarys(self, family: str, folders: dict[str, Path]):
        model = load(str(folders[family]))
        (last,) = model.embed([PROTEIN])
        np.testing.assert_array_equal(load(str(folders[family]), layer=3).embed([PROTEIN])[0], last)
        assert abs(load(str(folders[family]), layer=2).embed([PROTEIN])[0] - last).max() > 1e-3
        with pytest.raises(ModelError, match="no layer 4"):
            load(str(folders[family]), layer=4)

    def test_pools(self, family: str, folders: dict[str, Path]):
        model = load(str(folders[family]))
        residues, means = model.embed(SEQUENCES), model.embed(SEQUENCES, "mean")
        for rows, mean in zip(residues, means, strict=True):
            np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-5)
        if family in ("prott5", "ankh"):
            with pytest.raises(ModelError, match="no first token"):
                model.embed(SEQUENCES, "first")
        else:
            assert model.embed(SEQUENCES, "first")[0].shape == (24,)

    def test_attention_maps_are_the_librarys(self, family: str, folders: dict[str, Path]):
        model = load(str(folders[family]))
        ids, mask = model._padded([model._encode(PROTEIN)])
        maps = list(model.attention_maps(PROTEIN))
        eager = type(model.encoder).from_pretrained(
            folders[family], attn_implementation="eager", dtype=torch.float32
        ).eval()  # fmt: skip
        with torch.inference_mode():
            theirs = eager(input_ids=ids, attention_mask=mask, output_attentions=True).attentions
        assert len(maps) == len(theirs) == 3
        start = len(model.recipe.before)
        inside = slice(start, start + len(PROTEIN))
        for ours, whole in zip(maps, theirs, strict=True):
            np.testing.assert_allclose(ours, whole[0, :, inside, inside].numpy(), atol=1e-5)
        # Whoever looks at the first layer only leaves nothing running, and changes nothing.
        next(iter(model.attention_maps(PROTEIN)))
        assert model.encoder.config._attn_implementation == "sdpa"

    def test_letters_nobody_knows_are_refused(self, family: str, folders: dict[str, Path]):
        model = load(str(folders[family]))
        for wrong in ("MKJJTA", "mkta", "MK TA", "MK*", "MK-TA"):
            with pytest.raises(ModelError, match="is no residue letter"):
                model.embed([wrong])
        with pytest.raises(ModelError, match="is empty"):
            model.embed([""])

    def test_describes_itself(self, family: str, folders: dict[str, Path]):
        network = load(str(folders[family])).describe()
        assert (network.layers, network.hidden) == (3, 24)
        assert network.gated == (family in ("esmc", "ankh", "ankh3"))


@pytest.mark.parametrize("family", MASKED)
class TestMasked:
    def test_logits_are_the_librarys(self, family: str, folders: dict[str, Path]):
        model = load(str(folders[family]))
        ids = model.vocabulary.encode(PROTEIN)
        ids[3] = model.vocabulary.mask
        (ours,) = model.token_logits([ids])
        auto = transformers.AutoModelForMaskedLM.from_pretrained(
            folders[family], dtype=torch.float32
        )
        whole = [model.vocabulary.cls, *ids.tolist(), model.vocabulary.sep]
        with torch.inference_mode():
            theirs = auto.eval()(torch.tensor([whole])).logits[0, 1:-1].numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-4)

    def test_a_mask_in_another_row_changes_nothing(self, family: str, folders: dict[str, Path]):
        model = load(str(folders[family]))
        ids, other = model.vocabulary.encode(PROTEIN), model.vocabulary.encode(PROTEIN[::-1])
        (alone,) = model.token_logits([ids])
        other[:9] = model.vocabulary.mask
        np.testing.assert_allclose(model.token_logits([ids, other])[0], alone, atol=1e-4)

    def test_a_head_drawn_at_random_scores_nothing(self, family: str, tmp_path: Path):
        model = load(str(hub_models.make(family, tmp_path / "bare", bare=True)))
        assert model.embed([PROTEIN])[0].shape == (len(PROTEIN), 24)
        with pytest.raises(ModelError, match="has no masked-language-model head"):
            model.token_logits([model.vocabulary.encode(PROTEIN)])


@pytest.mark.parametrize(
    ("family", "letter", "as_"),
    [(f, letter, "X") for f in ("protbert", "prott5", "prostt5", "ankh") for letter in "UZOB"],
)
def test_rare_letters_are_read_as_in_training(
    family: str, letter: str, as_: str, folders: dict[str, Path]
):
    model = load(str(folders[family]))
    one, other = model.embed([f"MK{letter}TA", f"MK{as_}TA"])
    np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("family", ["esm2", "esm1", "esmc"])
def test_rare_letters_that_are_known_are_kept(family: str, folders: dict[str, Path]):
    model = load(str(folders[family]))
    found = model.embed([f"MK{letter}TA" for letter in "XBUZO"])
    for one in found[1:]:
        assert abs(one - found[0]).max() > 1e-3


def test_residues_more_than_positions_are_refused_before_they_are_computed(
    folders: dict[str, Path],
):
    model = load(str(folders["esm1"]))  # its table has 70 rows, and begins at the third
    assert model.identity.longest_input == 66
    assert np.isfinite(model.embed(["A" * 66])[0]).all()
    with pytest.raises(ModelError, match="67 residues"):
        model.embed(["A" * 67])
    assert load(str(folders["esm2"])).identity.longest_input is None
