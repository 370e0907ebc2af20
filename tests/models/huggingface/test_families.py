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
from tape_bench.models.huggingface.families import recipe_of
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
ENGINES = {
    **{family: {} for family in hub_models.FAMILIES},
    **{
        f"{family}, transformers": {"engine": "transformers"}
        for family in ("esm2", "esm1", "saprot", "protbert", "antiberty")
    },
}
"""Each family by the engine that is its default, and those that are packed by the other, too."""


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


@pytest.mark.parametrize("how", ENGINES)
class TestEveryFamily:
    def test_is_told_by_configuration_and_vocabulary(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options)
        assert model.recipe.family == family
        assert isinstance(model, PackedEmbedder)
        assert isinstance(model, AttentionMaps)
        assert isinstance(model, MaskedLanguageModel) == (family in MASKED)
        packed = family not in ("esmc", "prott5", "prostt5", "ankh", "ankh3") and not options
        assert model.identity.reading["engine"] == ("packed" if packed else "transformers")

    def test_gives_what_the_library_gives(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        (ours,) = load(str(folders[family]), **options).embed([PROTEIN])
        theirs = documented(family, folders[family], PROTEIN)
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * abs(theirs).max())

    def test_batches_and_order_change_nothing(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options)
        together = model.embed(SEQUENCES)
        backwards = model.embed(SEQUENCES[::-1])[::-1]
        for sequence, one, other in zip(SEQUENCES, together, backwards, strict=True):
            (alone,) = model.embed([sequence])
            assert alone.shape == (len(sequence), 24)
            np.testing.assert_allclose(one, alone, atol=1e-5 * abs(alone).max())
            np.testing.assert_allclose(other, alone, atol=1e-5 * abs(alone).max())

    def test_each_row_is_of_its_residue(self, how: str, folders: dict[str, Path]):
        """Embeddings know no neighbours: of them, one row moves with one residue."""
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options, layer=0)
        (before,) = model.embed([PROTEIN])
        (after,) = model.embed([PROTEIN[:7] + "W" + PROTEIN[8:]])
        assert np.flatnonzero(abs(after - before).max(axis=1) > 1e-6).tolist() == [7]

    def test_chosen_layers_are_the_librarys(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options)
        (last,) = model.embed([PROTEIN])
        np.testing.assert_array_equal(
            load(str(folders[family]), **options, layer=3).embed([PROTEIN])[0], last
        )
        assert (
            abs(load(str(folders[family]), **options, layer=2).embed([PROTEIN])[0] - last).max()
            > 1e-3
        )
        with pytest.raises(ModelError, match="no layer 4"):
            load(str(folders[family]), **options, layer=4)

    def test_pools(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options)
        residues, means = model.embed(SEQUENCES), model.embed(SEQUENCES, "mean")
        for rows, mean in zip(residues, means, strict=True):
            np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-5)
        if family in ("prott5", "ankh"):
            with pytest.raises(ModelError, match="no first token"):
                model.embed(SEQUENCES, "first")
        else:
            assert model.embed(SEQUENCES, "first")[0].shape == (24,)

    def test_attention_maps_are_the_librarys(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options)
        around = [model.vocabulary.ids_of(one) for one in (model.recipe.before, model.recipe.after)]
        ids = torch.tensor([[*around[0], *model.vocabulary.encode(PROTEIN).tolist(), *around[1]]])
        maps = list(model.attention_maps(PROTEIN))
        eager = getattr(transformers, model.recipe.architecture).from_pretrained(
            folders[family], attn_implementation="eager", dtype=torch.float32
        ).eval()  # fmt: skip
        with torch.inference_mode():
            theirs = eager(ids, torch.ones_like(ids), output_attentions=True).attentions
        assert len(maps) == len(theirs) == 3
        start = len(model.recipe.before)
        inside = slice(start, start + len(PROTEIN))
        for ours, whole in zip(maps, theirs, strict=True):
            np.testing.assert_allclose(ours, whole[0, :, inside, inside].numpy(), atol=1e-5)
        # Whoever looks at the first layer only leaves nothing running, and changes nothing.
        (before,) = model.embed([PROTEIN])
        next(iter(model.attention_maps(PROTEIN)))
        np.testing.assert_array_equal(model.embed([PROTEIN])[0], before)

    def test_letters_nobody_knows_are_refused(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options)
        for wrong in ("MKJJTA", "mkta", "MK TA", "MK*", "MK-TA"):
            with pytest.raises(ModelError, match="is no residue letter"):
                model.embed([wrong])
        with pytest.raises(ModelError, match="is empty"):
            model.embed([""])

    def test_describes_itself(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        network = load(str(folders[family]), **options).describe()
        assert (network.layers, network.hidden) == (3, 24)
        assert network.gated == (family in ("esmc", "ankh", "ankh3"))


@pytest.mark.parametrize("how", [how for how in ENGINES if how.partition(",")[0] in MASKED])
class TestMasked:
    def test_logits_are_the_librarys(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options)
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

    def test_a_mask_in_another_row_changes_nothing(self, how: str, folders: dict[str, Path]):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(folders[family]), **options)
        ids, other = model.vocabulary.encode(PROTEIN), model.vocabulary.encode(PROTEIN[::-1])
        (alone,) = model.token_logits([ids])
        other[:9] = model.vocabulary.mask
        np.testing.assert_allclose(model.token_logits([ids, other])[0], alone, atol=1e-4)

    def test_a_head_drawn_at_random_scores_nothing(self, how: str, tmp_path: Path):
        family, options = how.partition(",")[0], ENGINES[how]
        model = load(str(hub_models.make(family, tmp_path / "bare", bare=True)), **options)
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


@pytest.mark.parametrize("family", ["esm2", "esm1", "saprot", "protbert", "antiberty"])
class TestPacked:
    """Our own network against the library's, in all that it answers."""

    def test_vectors_logits_and_maps(self, family: str, folders: dict[str, Path]):
        ours, theirs = (
            load(str(folders[family]), engine=engine) for engine in ("packed", "transformers")
        )
        for pool in ("residues", "mean", "first"):
            for one, other in zip(
                ours.embed(SEQUENCES, pool), theirs.embed(SEQUENCES, pool), strict=True
            ):
                np.testing.assert_allclose(one, other, atol=1e-5 * abs(other).max())
        riddles = [ours.vocabulary.encode(sequence) for sequence in SEQUENCES]
        for number, riddle in enumerate(riddles):
            riddle[: number * 2 : 2] = ours.vocabulary.mask
        answers = zip(ours.token_logits(riddles), theirs.token_logits(riddles), strict=True)
        for one, other in answers:
            np.testing.assert_allclose(one, other, atol=1e-5 * abs(other).max())
        for one, other in zip(
            ours.attention_maps(PROTEIN), theirs.attention_maps(PROTEIN), strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-5)

    @pytest.mark.parametrize("layer", [0, 1, 2])
    def test_layers(self, family: str, layer: int, folders: dict[str, Path]):
        ours, theirs = (
            load(str(folders[family]), engine=engine, layer=layer)
            for engine in ("packed", "transformers")
        )
        for one, other in zip(ours.embed(SEQUENCES), theirs.embed(SEQUENCES), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5 * abs(other).max())

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_on_a_cpu(self, family: str, dtype: str, folders: dict[str, Path]):
        whole = load(str(folders[family])).embed(SEQUENCES)
        half = load(str(folders[family]), dtype=dtype, device="cpu")
        assert {weight.dtype for weight in half.encoder.parameters()} == {getattr(torch, dtype)}
        for one, other in zip(half.embed(SEQUENCES), whole, strict=True):
            error = np.linalg.norm(one - other) / np.linalg.norm(other)
            assert 0 < error < (0.05 if dtype == "bfloat16" else 0.01)

    def test_the_library_is_not_loaded_for_it(self, family: str, folders: dict[str, Path]):
        """Everything is read from the files; a change of the library changes nothing."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(transformers.EsmModel, "forward", None)
            patch.setattr(transformers.BertModel, "forward", None)
            assert load(str(folders[family])).embed([PROTEIN])[0].shape == (len(PROTEIN), 24)


def test_engines_that_cannot_compute_a_model(folders: dict[str, Path]):
    with pytest.raises(ModelError, match="does not run on the packed engine"):
        load(str(folders["prott5"]), engine="packed")


def test_masks_of_other_proteins_do_not_scale_mine(folders: dict[str, Path]):
    """ESM-2 scales words by the masked share of a row; a packed row is of many proteins."""
    model = load(str(folders["esm2"]))
    ids, other = model.vocabulary.encode("MKTAYIAKQR"), model.vocabulary.encode("ACDEFGHIKL")
    (alone,) = model.token_logits([ids])
    other[:] = model.vocabulary.mask
    np.testing.assert_allclose(model.token_logits([other, ids])[1], alone, atol=1e-5)


@pytest.mark.parametrize("longest", [0, -5, 2])
def test_a_configuration_that_makes_no_sense_is_an_error_of_ours(longest: int):
    tokens = {token: id for id, token in enumerate(hub_models.PROTBERT_VOCABULARY)}
    config = {"model_type": "bert", "vocab_size": 30, "max_position_embeddings": longest}
    with pytest.raises(ModelError, match="makes no sense: longest"):
        recipe_of(config, tokens, "here")
