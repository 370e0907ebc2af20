"""docs/models.md is true: every class on it runs as printed, and reads its model rightly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import hub_models
import numpy as np
import pytest
from click.testing import CliRunner

from tape_bench import evaluate, load_model
from tape_bench.cli import program
from tape_bench.models.huggingface.names import SHORT

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


def test_the_page_has_the_files_that_are_tested_here():
    assert sorted(BLOCKS) == ["function.py", "mine.py"]


def test_the_smallest_class_runs():
    (record,) = evaluate("python:mine.py:Mine", "stability", out="out", **TRIAL)
    assert record.status == "complete"
    assert record.model.hidden_size == 20
    (rows,) = load_model("python:mine.py:Mine").embed(["ACDY"])
    assert rows.argmax(axis=1).tolist() == [0, 1, 2, 19]


def test_the_function_runs():
    names: dict[str, Any] = {}
    exec(compile(BLOCKS["function.py"], "function.py", "exec"), names)
    assert names["record"].status == "complete"
    assert names["record"].model.name == "frequencies"


def test_every_short_name_on_the_page_is_one_and_every_one_is_on_the_page():
    text = PAGE.read_text("utf-8")
    named = set(re.findall(r"`hf:([a-z0-9_MB]+)`", text))
    named |= {f"esm2{rest}" for rest in re.findall(r"`…(_t\w+)`", text)}
    assert named == SHORT.keys() - {f"esm1v_{n}" for n in (2, 3, 4)} - {"prostt5_fp16"}


def test_the_recipe_on_the_page_reads_a_model(tmp_path: Path):
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    Path("recipe.toml").write_text(text)
    folder = hub_models.make("protbert", tmp_path / "model")
    ours = load_model(f"hf:{folder}", recipe="recipe.toml").embed(["MUB"])[0]
    known = load_model(f"hf:{folder}").embed(["MCX"])[0]
    np.testing.assert_array_equal(ours, known)


@pytest.mark.parametrize("family", ["esm2", "prott5"])
def test_a_folder_runs_from_data_to_score(family: str, tmp_path: Path):
    folder = hub_models.make(family, tmp_path / "tiny")
    command = ["run", f"hf:{folder}", "-t", "stability", "--data", "sample", "--limit", "60",
               "--out", "out", "--dtype", "bfloat16", "--json", "--quiet"]  # fmt: skip
    done = CliRunner().invoke(program, command, catch_exceptions=False)
    (record,) = json.loads(done.stdout)
    assert record["status"] == "complete"
    assert (record["model"]["name"], record["model"]["dtype"]) == ("tiny", "bfloat16")
    assert record["model"]["reading"]["family"] == family


def test_a_fine_tuned_checkpoint_is_read_without_its_head(tmp_path: Path):
    import transformers

    folder = hub_models.make("esm2", tmp_path / "base")
    tuned = transformers.EsmForSequenceClassification.from_pretrained(folder, num_labels=1)
    tuned.save_pretrained(tmp_path / "tuned")
    (tmp_path / "tuned" / "vocab.txt").write_bytes((folder / "vocab.txt").read_bytes())
    (one,) = load_model(f"hf:{tmp_path / 'tuned'}").embed(["MKT"])
    np.testing.assert_array_equal(one, load_model(f"hf:{folder}").embed(["MKT"])[0])
