"""Options that behave alike in every verb: each has an environment variable, and says so."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tape_bench.cli import completion, output

if TYPE_CHECKING:
    from tape_bench.models.embedder import Embedder

Command = TypeVar("Command", bound=Callable[..., Any])


EVERYWHERE = {
    "TAPE_BENCH_DATA": "where the records are (--data)",
    "TAPE_BENCH_OUT": "where run records go, and are looked for (--out)",
    "TAPE_BENCH_CACHE": "where models' representations are kept",
    "TAPE_BENCH_DEVICE": "where networks run, e.g. cuda:0 (--device)",
    "TAPE_BENCH_DTYPE": "their precision (--dtype)",
    "TAPE_BENCH_KERNELS": "auto, fused or reference",
}
"""Variables that mean the same to every verb; all others carry the name of their verb."""


def option(*names: str, **settings: Any) -> Callable[[Command], Command]:
    """Declare an option that an environment variable can set, too.

    It is `TAPE_BENCH_<VERB>_<OPTION>`, unless `envvar` names one of `EVERYWHERE`: what two verbs
    call alike need not mean the same, as `report --format` and `plot --format`.
    """
    return click.option(*names, show_envvar=True, **settings)


def name_variables(command: click.Command, verb: str) -> None:
    """Name the variables of a verb's options after the verb; tell of those that lack its name."""
    if isinstance(command, click.Group):
        for name, sub in command.commands.items():
            name_variables(sub, f"{verb}_{name}")
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.show_envvar:
            long = next(name for name in parameter.opts if name.startswith("--"))
            name = long.removeprefix("--").replace("-", "_").upper()
            own, nobodys = f"TAPE_BENCH_{verb.upper()}_{name}", f"TAPE_BENCH_{name}"
            parameter.envvar = parameter.envvar or own
            if nobodys in os.environ and nobodys not in EVERYWHERE:
                click.echo(f"note: nothing reads {nobodys}; write {own}", err=True)


def model_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `model_options` added to a verb, as the model's loader takes it."""
    general = {name: options[name] for name in ("dtype", "device", "layer")}
    given = {name: value for name, value in general.items() if value is not None}
    for name in options["of_family"]:
        if name in general:
            raise click.UsageError(f"-M {name}=… is written --{name}")
    return {**given, **dict(options["of_family"])}


def parse_pairs(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Read `KEY=VALUE` given any number of times; hyphens in keys are underscores."""
    pairs: dict[str, str] = {}
    for value in values:
        key, equals, text = value.partition("=")
        name = key.strip().replace("-", "_")
        if not equals or not name:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE")
        if name in pairs:
            raise click.BadParameter(f"{name} is given twice")
        pairs[name] = text
    return pairs


def load(spec: str, options: Mapping[str, Any]) -> Embedder:
    """Load the model a user named, and tell what its loader has to say."""
    from tape_bench.cli.output import aside
    from tape_bench.models import load_model

    with aside():
        model = load_model(spec, **model_keywords(options))
    return tell_notes(model)


def tell_notes(model: Embedder) -> Embedder:
    """Tell what a model's loader has to say, and return the model."""
    from tape_bench.models.embedder import Noted

    for note in model.notes if isinstance(model, Noted) else ():
        output.note(note)
    return model


def parse_names(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Read names that are given one by one, with commas between them, or both."""
    names: list[str] = []
    for value in values:
        # A file whose name holds a comma is one name.
        names += [value] if Path(value).exists() else re.split(r"\s*,\s*", value.strip())
    return tuple(name for name in names if name)


def data_option(command: Command) -> Command:
    """Add `--data`: where the records are."""
    return option(
        "--data",
        envvar="TAPE_BENCH_DATA",
        shell_complete=completion.data,
        metavar="PLACE",
        help="A data root, a folder of TAPE tarballs, or 'sample' for the built-in simulated "
        "data. Default: the folder that `tape-bench data fetch` fills.",
    )(command)


def json_option(command: Command) -> Command:
    """Add `--json`: print for programs instead of people."""
    return option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def parse_size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Turn a number of bytes, as people write it, into a whole number: 500MB, 20GB, 1.5TB."""
    if value is None:
        return None
    written = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)B?", value.strip(), re.IGNORECASE)
    if not written:
        raise click.BadParameter(f"{value!r} is no size; write e.g. 500MB or 20GB")
    return int(float(written.group(1)) * 1000 ** " KMGT".index(written.group(2).upper() or " "))


def fasta_options(command: Command) -> Command:
    """Add what may be done to the sequences of a FASTA file."""
    for add in (
        option(
            "--strip-stop",
            is_flag=True,
            help="Leave out a '*' at the end of a sequence, as translated reading frames have it.",
        ),
        option(
            "--uppercase",
            is_flag=True,
            help="Read small letters as capitals, as in soft-masked files.",
        ),
    ):
        command = add(command)
    return command


def compute_options(command: Command) -> Command:
    """Add how the work is done; none of it changes a score beyond rounding."""
    for add in reversed(
        [
            option(
                "--devices",
                type=int,
                metavar="N",
                help="Share the sequences between N processes, each on a GPU of its own or on a "
                "part of the CPU's cores. Default: 1.",
            ),
            option(
                "--tensor-parallel",
                type=int,
                metavar="M",
                help="Let M processes compute one network together, each a part of every layer: "
                "for models that one GPU does not hold. With --devices, N times M processes.",
            ),
            option(
                "--tokens-per-batch",
                type=int,
                metavar="N",
                help="Tokens computed at once. Default: what is fast and fits the memory.",
            ),
            option(
                "--cache-limit",
                callback=parse_size,
                metavar="SIZE",
                help="Disk space that kept representations may take, e.g. 200GB; those longest "
                "unused go first. Default: half of what the disk could give.",
            ),
            option(
                "--cache-dtype",
                type=click.Choice(["float32", "float16", "bfloat16"]),
                help="Precision that representations are kept in. Default: float16 for a model in "
                "half precision, otherwise float32.",
            ),
        ]
    ):
        command = add(command)
    return command


def model_options(command: Command) -> Command:
    """Add what can be said of how a model is read."""
    for add in reversed(
        [
            option(
                "--dtype",
                envvar="TAPE_BENCH_DTYPE",
                shell_complete=completion.offer(["float32", "bfloat16", "float16"]),
                help="Precision: float32, bfloat16 or float16.",
            ),
            option(
                "--device",
                envvar="TAPE_BENCH_DEVICE",
                help="Where the network runs, e.g. cpu or cuda:0.",
            ),
            option("--layer", type=int, help="Read the state after this layer. Default: the last."),
            option(
                "-M",
                "--model-option",
                "of_family",
                multiple=True,
                callback=parse_pairs,
                metavar="KEY=VALUE",
                help="An option of the model's family, e.g. -M reading=fork; `tape-bench models "
                "FAMILY` lists them.",
            ),
        ]
    ):
        command = add(command)
    return command
