"""`tape-bench embed` as a user meets it: files, messages and exit codes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tape_bench.cli import main
from tape_bench.export import write


@pytest.fixture
def run(monkeypatch, capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tape-bench", "embed", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        return exit.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    path = tmp_path / "proteins.fasta"
    path.write_text(">one of them\nMKV\n>../two\nAC\nAA\n")
    return path


LETTERS = "ABCDEFGHIKLMNOPQRSTUVWXYZ"


def test_means(run, tmp_path, fasta):
    out = tmp_path / "out.npz"
    code, stdout, _ = run("onehot", fasta, "-o", out)
    assert code == 0
    assert "2 proteins, 7 residues" in stdout
    with np.load(out) as file:
        assert file["ids"].tolist() == ["one", "../two"]
        found = dict(zip(LETTERS, file["vectors"][1], strict=True))
    assert (found["A"], found["C"], found["M"]) == (0.75, 0.25, 0)


def test_residues(run, tmp_path, fasta):
    out = tmp_path / "out.safetensors"
    code, _, _ = run("onehot", fasta, "-o", out, "--pool", "residues")
    assert code == 0
    from safetensors.numpy import load_file

    file = load_file(out)
    assert file["offsets"].tolist() == [0, 3, 7]
    assert "".join(LETTERS[row.argmax()] for row in file["vectors"]) == "MKVACAA"


def test_quiet(run, tmp_path, fasta):
    assert run("onehot", fasta, "-o", tmp_path / "out.npz", "--quiet") == (0, "", "")


def test_nothing_is_drawn_where_there_is_no_terminal(run, tmp_path, fasta):
    _, _, stderr = run("onehot", fasta, "-o", tmp_path / "out.npz")
    assert "\x1b" not in stderr
    assert "\r" not in stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["onehot", "{fasta}", "-o", "{out}.txt"], "ending"),
        (["onehot", "{fasta}"], "--output"),
        (["onehot", "none.fasta", "-o", "{out}.npz"], "none.fasta"),
        (["onehott", "{fasta}", "-o", "{out}.npz"], "did you mean onehot"),
        (["onehot", "{fasta}", "-o", "{out}.npz", "--pool", "first"], "no first token"),
        (["onehot", "{fasta}", "-o", "{out}.npz", "--pool", "max"], "--pool"),
        (["onehot", "{fasta}", "-o", "{out}.npz", "--layer", "3"], "no option 'layer'"),
    ],
)
def test_what_makes_no_sense(run, tmp_path, fasta, arguments, message):
    places = {"fasta": fasta, "out": tmp_path / "out"}
    code, _, stderr = run(*(argument.format(**places) for argument in arguments))
    assert code == 2
    assert message in stderr
    assert not list(tmp_path.glob("out.???"))


def test_bad_proteins(run, tmp_path, fasta):
    fasta.write_text(">one\nMKV\n>two\nMK*\n")
    code, _, stderr = run("onehot", fasta, "-o", tmp_path / "out.npz")
    assert code == 2
    assert "'*'" in stderr
    assert "two" in stderr
    assert list(tmp_path.iterdir()) == [fasta]


def test_soft_masked_reading_frames(run, tmp_path, fasta):
    fasta.write_text(">one\nmkV*\n")
    out = tmp_path / "out.npz"
    code, _, stderr = run("onehot", fasta, "-o", out)
    assert code == 2
    assert "--uppercase and --strip-stop" in stderr
    assert run("onehot", fasta, "-o", out, "--pool", "residues", "--uppercase", "--strip-stop",
               "--quiet") == (0, "", "")  # fmt: skip
    with np.load(out) as file:
        assert "".join(LETTERS[row.argmax()] for row in file["vectors"]) == "MKV"


def test_an_interrupted_run_goes_on(run, tmp_path, fasta, monkeypatch):
    monkeypatch.setattr(write, "CHUNK_RESIDUES", 3)
    represent = write.represent

    def interrupted(model, sequences, pool, **settings):
        if sequences == ["ACAA"]:
            raise KeyboardInterrupt
        return represent(model, sequences, pool, **settings)

    out = tmp_path / "out.npz"
    with monkeypatch.context() as broken:
        broken.setattr(write, "represent", interrupted)
        code, _, stderr = run("onehot", fasta, "-o", out)
    assert code != 0
    assert "interrupted" in stderr
    assert not out.exists()
    other, _, stderr = run("composition", fasta, "-o", out)
    assert other == 2
    assert "another model" in stderr
    assert run("onehot", fasta, "-o", out)[0] == 0
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["out.npz", "proteins.fasta"]
