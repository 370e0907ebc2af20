"""The command line: one module a verb, imported only when its verb is asked for."""

from __future__ import annotations

import importlib
import sys

import click

from tape_bench import leftovers
from tape_bench.cli import stopping
from tape_bench.cli.options import EVERYWHERE, name_variables
from tape_bench.cli.output import accept_any_encoding, warn_as_errors_are_told
from tape_bench.errors import TapeBenchError
from tape_bench.parallel import launchers, telling

VERBS = {
    "run": "score a model on tasks",
    "score": "score predictions that another program made",
    "tasks": "what is measured: splits, metrics and their definitions",
    "models": "what can be scored",
    "protocols": "the ways from a model to predictions, and what can be chosen in each",
    "data": "fetch, verify and look at the data sets",
    "embed": "write the vectors of your own proteins to a file",
    "perplexity": "how well a model guesses hidden residues: was its checkpoint read rightly?",
    "convert": "turn a Megatron-LM checkpoint into safetensors, or back into shards",
    "bench": "how fast a model is on this machine, and how fast it could be",
    "report": "the leaderboard, in the terminal or as Markdown, CSV, LaTeX, JSON or a web page",
    "plot": "pictures of where a model wins",
    "compare": "is the difference between two runs real?",
    "check": "a gate for CI: fail when a score got worse, and only then",
    "history": "one score over time",
    "schema": "the JSON Schema of run records",
    "cache": "what is kept of models' representations, and how to be rid of it",
    "doctor": "what this machine has: cores, memory, GPUs, kernels, data, disk",
}


class Verbs(click.Group):
    """A group that imports a verb's module when the verb is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the verbs in the order of the help text."""
        return list(VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import one verb."""
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"tape_bench.cli.{name}").command
        name_variables(command, name)
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or name the nearest ones."""
        from tape_bench.errors import unknown_name

        if arguments and not arguments[0].startswith("-") and arguments[0] not in VERBS:
            raise unknown_name("command", arguments[0], VERBS)
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs from the table above, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the environment variables that belong to no verb."""
        with formatter.section("Environment"):
            formatter.write_dl(list(EVERYWHERE.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tape-bench")
def program() -> None:
    """Score protein language models on the five TAPE tasks.

    \b
    A first look, on built-in simulated data (about a minute):
        tape-bench run onehot --data sample
    On real data:
        tape-bench data fetch
        tape-bench run onehot

    Every option can also be set by the environment variable that `tape-bench COMMAND --help`
    names, e.g. TAPE_BENCH_RUN_SEEDS.

    \b
    Completion of names, in bash (or zsh_source, fish_source):
        eval "$(_TAPE_BENCH_COMPLETE=bash_source tape-bench)"
    """


def main() -> None:
    """Run the program; turn errors a user can put right into one message and an exit code."""
    stopping.heed_termination()
    accept_any_encoding()
    warn_as_errors_are_told()
    leftovers.sweep_temporary()
    try:
        code = program.main(standalone_mode=False)
    except TapeBenchError as error:
        if telling.is_to_be_told(error):
            click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        if launchers.leads():
            error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        if launchers.leads():
            click.echo("\ninterrupted: nothing is half-written; the same command goes on", err=True)
        code = stopping.exit_code()
    except BrokenPipeError:
        # `tape-bench tasks | head`: the reader has gone, which is no fault.
        sys.stderr.close()
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
