"""`tape-bench models SPEC` says in words who a model is."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from tape_bench.cli import program
from tape_bench.models.controls.untrained import EXAMPLE


def models(*arguments: str) -> str:
    result = CliRunner().invoke(program, ["models", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def said(text: str) -> dict[str, str]:
    return {line[:16].strip(): line[17:] for line in text.splitlines()}


def test_a_control_in_words():
    found = said(models("onehot"))
    assert found["pretraining"] == "none at all"
    assert found["weights digest"] == "none"
    assert found["longest input"] == "any length"
    assert (found["control"], found["layer"], found["kinds"]) == ("yes", "the last", "all")


def test_a_network_in_words(tmp_path: Path):
    (tmp_path / "shape.json").write_text(EXAMPLE.replace("1024", "64").replace("2176", "40"))
    found = said(models(f"random:{tmp_path / 'shape.json'}", "--device", "cpu"))
    assert found["name"] == "random-16x64"
    assert found["longest input"] == "39"
    assert "reading megatron, special tokens cls, gelu tanh" in found["reading"]


def test_what_nobody_knows_is_unknown(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from tape_bench.models.embedder import Identity\n"
        "class Mine:\n"
        "    identity = Identity('x', 'mine', '1', None, 1234567, 8, None, None)\n"
        "    def embed(self, sequences, pool='residues'): ...\n"
    )
    found = said(models("python:mine.py:Mine"))
    assert found["pretraining"] == "unknown"
    assert found["parameters"] == "1,234,567"


def test_nothing_of_python_is_printed():
    for spec in ("onehot", "positional"):
        text = models(spec)
        for sign in ("None", "()", "{", "'", "True", "False"):
            assert sign not in text


def test_json_stays_json():
    assert json.loads(models("onehot", "--json"))["pretraining"] == []


def test_the_shape_in_the_help_is_a_shape(tmp_path: Path):
    shown = models("--help")
    (tmp_path / "shape.json").write_text(shown[shown.index("{") : shown.index("}") + 1])
    assert said(models(f"random:{tmp_path / 'shape.json'}"))["name"] == "random-2x64"
