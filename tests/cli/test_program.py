"""The program as a whole: help without torch, errors with exit code 2, names that nearly fit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import pytest
from click.testing import CliRunner

from tape_bench.cli import VERBS, program
from tape_bench.cli.options import EVERYWHERE

LISTING = """
import sys
from tape_bench.cli import program
program.main({arguments!r}, standalone_mode=False)
print("TORCH" if "torch" in sys.modules else "LIGHT")
"""

RESULTS = Path(__file__).resolve().parents[2] / "results" / "real"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tape_bench.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["tasks"], ["tasks", "contact"], ["models"], ["schema"], ["run", "-h"]],
)
def test_what_does_not_compute_does_not_import_torch(arguments: list[str]):
    script = LISTING.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "LIGHT", done.stderr


def test_a_run_that_is_complete_does_not_import_torch(tmp_path: Path):
    arguments = ["run", "composition", "-t", "stability", "--data", "sample", "--limit", "40",
                 "--out", str(tmp_path)]  # fmt: skip
    assert run(*arguments).returncode == 0
    script = LISTING.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "LIGHT", done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str):
    result = CliRunner().invoke(program, [verb, "--help"])
    assert result.exit_code == 0
    assert len(result.output) > 100


def options_of(command: click.Command) -> list[click.Option]:
    if isinstance(command, click.Group):
        return [o for sub in command.commands.values() for o in options_of(sub)]
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


ON_PURPOSE = {"update", "anyway"}
"""What overrides a safeguard is typed each time, never set for a whole environment."""


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_an_environment_variable_and_a_text(verb: str):
    command = program.get_command(click.Context(program), verb)
    assert command is not None
    for option in options_of(command):
        assert option.help, option.name
        if option.name in ON_PURPOSE:
            assert option.envvar is None
            continue
        assert str(option.envvar) in EVERYWHERE or re.fullmatch(
            rf"TAPE_BENCH_{verb.upper()}_[A-Z0-9_]+", str(option.envvar)
        ), option.name


def test_a_variable_of_one_verb_breaks_no_other(tmp_path: Path):
    environment = {
        "TAPE_BENCH_REPORT_FORMAT": "html",
        "TAPE_BENCH_EMBED_OUTPUT": "x.npz",
        "TAPE_BENCH_EMBED_HEADS": "16",
        "TAPE_BENCH_CONVERT_DTYPE": "nonsense",
    }
    for arguments in (["plot", str(RESULTS), "-k", "published", "--into", str(tmp_path)],
                      ["models", "onehot"]):  # fmt: skip
        result = CliRunner(env=environment).invoke(program, arguments)
        assert result.exit_code == 0, result.output
    page = CliRunner(env=environment).invoke(program, ["report", str(RESULTS), "--no-plots"]).output
    assert "<html" in page


def test_a_variable_that_nothing_reads_is_told():
    result = CliRunner(env={"TAPE_BENCH_SEEDS": "0,1"}).invoke(program, ["run", "--help"])
    assert "nothing reads TAPE_BENCH_SEEDS; write TAPE_BENCH_RUN_SEEDS" in result.stderr


def test_the_variables_of_all_verbs_stand_in_the_help():
    shown = CliRunner().invoke(program, ["--help"]).output
    for name in ("TAPE_BENCH_CACHE", "TAPE_BENCH_KERNELS", "TAPE_BENCH_DATA", "TAPE_BENCH_OUT"):
        assert name in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu"], "did you mean run"),
        (["tasks", "contakt"], "did you mean contact"),
        (["models", "one_hot"], "did you mean onehot"),
        (["run", "onehott", "--data", "sample"], "did you mean onehot"),
        (["run", "onehot", "-t", "stabilty", "--data", "sample"], "did you mean stability"),
        (["run", "onehot", "--head", "liner", "--data", "sample"], "did you mean linear"),
        (["run", "onehot", "--protocol", "prob", "--data", "sample"], "did you mean probe"),
        (["run", "onehot", "--split", "tset", "-t", "contact", "--data", "sample"], "mean test"),
        (["run", "onehot", "--seeds", "a,b", "--data", "sample"], "whole numbers"),
        (["run", "onehot", "--data", "/nowhere/at/all"], "no such data place"),
        (["run", "onehot", "--nonsense"], "No such option"),
        (["run", "onehot", "--data", "sample", "--protocol", "finetune"], "it is no Trainable"),
        (["run", "facebook/esm2_t6_8M_UR50D", "--data", "sample"], "write hf:facebook/esm2_t6_8M"),
        (["run", "onehot", "--data", "sample", "--dtype", "fp16"], "no option 'dtype'"),
        (["embed", "vectors.npz", "x.fasta", "-o", "y.npz"], "write vectors:vectors.npz"),
    ],
)
def test_bad_input_is_told_clearly_with_exit_code_2(
    arguments: list[str], says: str, tmp_path: Path
):
    done = run(*arguments, TAPE_BENCH_OUT=str(tmp_path))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.json"))


def test_the_package_runs_as_a_module_and_knows_its_version():
    import tape_bench

    done = subprocess.run(
        [sys.executable, "-m", "tape_bench", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.split()[-1] == tape_bench.__version__


def test_no_data_yet_says_what_to_do(tmp_path: Path):
    done = run("run", "onehot", "--out", str(tmp_path), TAPE_BENCH_DATA=str(tmp_path / "none"))
    assert done.returncode == 2
    assert "tape-bench data fetch" in done.stderr
    assert "--data sample" in done.stderr


def test_the_schema_is_a_valid_schema():
    schema = json.loads(CliRunner().invoke(program, ["schema"]).output)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "run_key" in schema["required"]


def test_tasks_as_json_are_the_cards():
    cards = json.loads(CliRunner().invoke(program, ["tasks", "--json"]).output)
    assert [card["name"] for card in cards] == [
        "secondary_structure",
        "contact",
        "remote_homology",
        "fluorescence",
        "stability",
    ]


def test_doctor_names_what_there_is():
    found = json.loads(CliRunner().invoke(program, ["doctor", "--json"]).output)
    assert set(found) >= {"software", "machine", "accelerators", "kernels", "data", "disk"}
    assert found["data"]["stability"].startswith("!")


def test_a_closed_pipe_is_no_fault():
    done = subprocess.run(
        f"{sys.executable} -m tape_bench.cli tasks | head -1", shell=True, capture_output=True
    )
    assert done.stderr == b""
