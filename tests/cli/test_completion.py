"""Names of models, tasks, heads and protocols are completed by the shell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from tape_bench import registry
from tape_bench.cli import program


def offered(*words: str) -> list[str]:
    shell = ShellComplete(program, {}, "tape-bench", "_TAPE_BENCH_COMPLETE")
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("run", "one"), ["onehot"]),
        (("run", "prot"), ["proteinlm:"]),
        (("embed", "comp"), ["composition"]),
        (("run", "onehot", "-t", "sta"), ["stability"]),
        (("run", "onehot", "-t", "stability,flu"), ["stability,fluorescence"]),
        (("run", "onehot", "-t", ""), registry.task_names()),
        (("run", "onehot", "--head", "tap"), ["tape"]),
        (("run", "onehot", "--protocol", ""), list(registry.PROTOCOLS)),
        (("run", "onehot", "--data", "sam"), ["sample"]),
        (("run", "onehot", "--dtype", "bf"), ["bfloat16"]),
        (("models", "tape"), ["tape_bert:"]),
        (("tasks", "cont"), ["contact"]),
        (("data", "status", "remote"), ["remote_homology"]),
    ],
)
def test_names(words: tuple[str, ...], names: list[str]):
    assert offered(*words) == names


def test_what_is_no_name_may_be_a_path():
    shell = ShellComplete(program, {}, "tape-bench", "_TAPE_BENCH_COMPLETE")
    (item,) = shell.get_completions(["run", "onehot", "-t"], "cards/sol")
    assert (item.type, item.value) == ("file", "cards/sol")


def test_the_line_in_the_help_sets_it_up():
    command = "import sys; sys.argv[0] = 'tape-bench'; from tape_bench.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env={**os.environ, "_TAPE_BENCH_COMPLETE": "zsh_source"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "compdef" in done.stdout
