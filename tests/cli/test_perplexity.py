"""`tape-bench perplexity` as a user meets it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tape_bench.cli import main

MODEL = '''
import numpy as np
from tape_bench.data.vocabulary import TAPE_IUPAC
from tape_bench.models.embedder import Identity

class Alanine:
    """Finds alanine as likely as the 29 other tokens together."""
    identity = Identity("alanine", "alanine", "1", None, 0, 1, 100, ())
    vocabulary = TAPE_IUPAC

    def embed(self, sequences, pool="residues"):
        return [np.zeros((len(s), 1), np.float32) for s in sequences]

    def token_logits(self, token_ids):
        row = np.zeros(30, np.float32)
        row[TAPE_IUPAC.tokens.index("A")] = np.log(29)
        return [np.tile(row, (len(ids), 1)) for ids in token_ids]
'''


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tape-bench", "perplexity", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        return exit.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def alanine(tmp_path: Path) -> str:
    path = tmp_path / "alanine_model.py"
    path.write_text(MODEL)
    return f"python:{path}:Alanine"


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "proteins.fasta"
    path.write_text(">a\nAAAA\n>b\nAAAAAACC\n")
    return path


def test_for_people(run, alanine, fasta):
    code, stdout, _ = run(alanine, fasta, "--every-residue")
    assert code == 0
    lines = dict(line.split(maxsplit=1) for line in stdout.splitlines()[:6])
    # Ten of twelve at 1/2, two at 1/58.
    assert lines["perplexity"] == f"{(2**10 * 58**2) ** (1 / 12):.3f}"
    assert lines["accuracy"] == "83.33%"
    assert lines["residues"] == "12, of which 12 were scored (each alone)"
    assert "at random among the 20 residues gives 20.0" in stdout
    # Entropy of 10/12 and 2/12.
    assert "this file gives 1.6" in stdout


def test_for_programs(run, alanine, fasta):
    code, stdout, _ = run(alanine, fasta, "--seed", 3, "--json")
    assert code == 0
    found = json.loads(stdout)
    assert found["masked"] == 2
    assert found["seed"] == 3
    assert found["model"]["name"] == "alanine"
    again = json.loads(run(alanine, fasta, "--seed", 3, "--json")[1])
    assert again == found


def test_quiet(run, alanine, fasta):
    assert run(alanine, fasta, "--quiet")[2] == ""


def test_a_model_that_guesses_nothing(run, fasta):
    code, _, stderr = run("onehot", fasta)
    assert code == 2
    assert "no masked-language-model head" in stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">a\nMKV\n>long\n" + "A" * 101 + "\n", "101 residues is longer than the 100"),
        (">a\nMKJ\n", "'J'"),
        (">a\nMK\n>a\nMK\n", "twice"),
        ("", "no sequence"),
    ],
)
def test_bad_proteins(run, alanine, fasta, text, message):
    fasta.write_text(text)
    code, stdout, stderr = run(alanine, fasta)
    assert (code, stdout) == (2, "")
    assert message in stderr


def test_no_negative_seed(run, alanine, fasta):
    code, _, stderr = run(alanine, fasta, "--seed", "-1")
    assert code == 2
    assert "--seed" in stderr


def test_soft_masked_reading_frames(run, alanine, fasta):
    _, capitals, _ = run(alanine, fasta, "--every-residue")
    fasta.write_text(">a\nAaaA*\n>b\nAAAAAAcc\n")
    code, _, stderr = run(alanine, fasta)
    assert code == 2
    assert "--uppercase and --strip-stop" in stderr
    code, cleaned, _ = run(alanine, fasta, "--every-residue", "--uppercase", "--strip-stop")
    assert (code, cleaned) == (0, capitals)
