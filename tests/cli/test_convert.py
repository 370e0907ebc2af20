"""`tape-bench convert` as a user meets it: files, messages and exit codes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from tape_bench.cli import VERBS, main
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import ProteinLMConfig, open_checkpoint
from tape_bench.models.proteinlm.checkpoint import digest
from tape_bench.models.proteinlm.convert import convert

CONFIG = ProteinLMConfig(
    layers=2, hidden=16, heads=4, positions=40, layernorm_eps=1e-12, gelu="tanh"
)


@pytest.fixture
def run(monkeypatch, capsys):
    monkeypatch.setitem(VERBS, "convert", "a checkpoint in another form")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tape-bench", "convert", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            main()
        return exit.value.code, *capsys.readouterr()

    return run


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    convert(RandomWeights(CONFIG, 0, torch.float16), tmp_path / "shards", to="megatron")
    return tmp_path / "shards"


def test_to_safetensors_and_back(run, shards, tmp_path):
    code, out, _ = run(shards, tmp_path / "folder")
    assert code == 0
    assert "written and read back" in out
    back = ["--to", "megatron", "--tp", 2, "--pp", 2, "--checkpoint-version", "1.0"]
    assert run(tmp_path / "folder", tmp_path / "again", *back)[0] == 0
    found = open_checkpoint(tmp_path / "again")
    assert found.origin.checkpoint_version == "1.0"
    assert digest(found) == digest(open_checkpoint(shards))
    assert len(list(tmp_path.glob("again/release/mp_rank_*_*"))) == 4


def test_precision(run, shards, tmp_path):
    assert run(shards, tmp_path / "folder", "--dtype", "bfloat16")[0] == 0
    assert open_checkpoint(tmp_path / "folder").stored_dtype == torch.bfloat16


def test_check_scores_what_was_written(run, shards, tmp_path):
    fasta = tmp_path / "proteins.fasta"
    fasta.write_text(">a\nMKVLAG\n>b\nACDEFGHIKL\n")
    code, out, _ = run(shards, tmp_path / "folder", "--check", fasta)
    assert code == 0
    assert "perplexity" in out


def test_notes_are_told(run, shards, tmp_path):
    code, _, err = run(shards, tmp_path / "folder", "-M", "qkv_order=v0")
    assert code == 0
    assert "note: query, key and value rows are read in order v0, as asked for" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tp", "2"], "a safetensors folder has no ranks"),
        (["--dtype", "float8"], "no dtype named 'float8'"),
        (["-M", "heads=2"], "args of the checkpoint say heads 4, you say 2"),
        (["--to", "megatron", "--tp", "3"], "4 heads cannot be shared equally by 3"),
        (["--to", "megatron", "--checkpoint-version", "9"], "version '9' is not known"),
    ],
)
def test_bad_input(run, shards, tmp_path, arguments, message):
    code, _, err = run(shards, tmp_path / "folder", *arguments)
    assert code == 2
    assert message in err
    assert not (tmp_path / "folder").exists()


def test_a_source_that_is_not_there(run, tmp_path):
    code, _, err = run(tmp_path / "nowhere", tmp_path / "folder")
    assert code == 2
    assert "there is no such checkpoint" in err
