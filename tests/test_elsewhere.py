"""Who asks for what is not here learns what to do instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from tape_bench import elsewhere, load_model, registry
from tape_bench.errors import UsageError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"


@pytest.mark.parametrize(
    "spec",
    ["facebook/esm2_t6_8M_UR50D", "Rostlab/prot_t5_xl_uniref50",
     "esm2", "ESM2_650M", "esmc", "prot_t5", "ProtT5", "prot_bert", "ankh", "saprot", "ProstT5",
     "esm:checkpoints/3b"],
)  # fmt: skip
def test_models_of_the_hub(spec: str):
    with pytest.raises(UsageError, match="does not say where") as caught:
        load_model(spec)
    assert f"write hf:{spec}" in str(caught.value)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    "spec", ["precomputed:x.h5", "vectors.npz", "embeddings:a.parquet", "out/e.h5"]
)
def test_vectors_computed_elsewhere(spec: str):
    with pytest.raises(UsageError, match="write vectors:") as caught:
        load_model(spec)
    assert f"vectors:{spec.partition(':')[2] or spec}" in str(caught.value)


def test_paths_that_lack_their_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "3b").mkdir()
    with pytest.raises(UsageError, match="is a path") as caught:
        load_model("3b")
    assert "proteinlm:3b" in str(caught.value)
    with pytest.raises(UsageError, match=r"python:FILE\.py:CLASS") as caught:
        load_model("mine.py:Mine")
    assert "write python:mine.py:Mine" in str(caught.value)


@pytest.mark.parametrize("spec", ["one-hot", "protienlm:x", "x" * 5000, "~nobody-here/x"])
def test_other_names_are_answered_with_known_ones(spec: str):
    assert elsewhere.model(spec) is None


@pytest.mark.parametrize("name", registry.MODELS)
def test_no_family_that_is_here_counts_as_missing(name: str):
    assert elsewhere.model(name) is None


@pytest.mark.parametrize("name", ["fine-tuned", "Fine_Tuning", "lora", "end-to-end"])
def test_fine_tuning(name: str):
    with pytest.raises(UsageError, match="there is no protocol") as caught:
        registry.protocol(name)
    assert "--protocol finetune " in str(caught.value)
    assert "--protocol finetuned " in str(caught.value)


@pytest.mark.parametrize("name", ["zero-shot", "zeroshot", "unsupervised"])
def test_zero_shot(name: str):
    with pytest.raises(UsageError, match="there is no protocol") as caught:
        registry.protocol(name)
    assert "perplexity" in str(caught.value)
