"""`tape-bench convert`: a ProteinLM checkpoint in another form, and proof that it is the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tape_bench.cli import output
from tape_bench.cli.options import option, parse_pairs

if TYPE_CHECKING:
    from tape_bench.models.proteinlm.convert import Form


@click.command(name="convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("destination", type=click.Path(path_type=Path))
@option(
    "--to",
    type=click.Choice(["safetensors", "megatron"]),
    default="safetensors",
    show_default=True,
    help="safetensors and config.json, as Hugging Face tools open them, or Megatron shards.",
)
@option("--dtype", help="Precision to write. Default: that of SOURCE.")
@option("--tp", type=click.IntRange(min=1), help="Tensor-parallel ranks of Megatron shards.")
@option("--pp", type=click.IntRange(min=1), help="Pipeline stages of Megatron shards.")
@option("--checkpoint-version", help="Version of Megatron shards: 0, 1.0, 2.0 or 3.0 (default).")
@option(
    "-M",
    "--model-option",
    "of_family",
    multiple=True,
    callback=parse_pairs,
    metavar="KEY=VALUE",
    help="What SOURCE does not say: heads, gelu (tanh or erf) or layernorm_eps; or qkv_order (v0, "
    "v1 or v2), against what its version says.",
)
@option(
    "--check",
    type=click.Path(path_type=Path),
    metavar="FASTA",
    help="Score guesses of hidden residues afterwards: was SOURCE read rightly?",
)
@click.pass_context
def command(
    context: click.Context,
    source: Path,
    destination: Path,
    to: Form,
    dtype: str | None,
    tp: int | None,
    pp: int | None,
    checkpoint_version: str | None,
    of_family: dict[str, str],
    check: Path | None,
) -> None:
    """Write the checkpoint SOURCE in another form, as the new folder DESTINATION.

    What was written is read back and compared before the folder gets its name. An interrupted
    conversion goes on where it stopped: repeat the command.

    \b
    Examples:
        tape-bench convert checkpoints/3b proteinlm-3b --check proteins.fasta
        tape-bench convert model_optim_rng.pt proteinlm-200m -M heads=16 -M gelu=tanh
        tape-bench convert proteinlm-3b shards --to megatron --tp 4
    """
    from tape_bench import keywords
    from tape_bench.errors import UsageError
    from tape_bench.models.placement import dtype_named
    from tape_bench.models.proteinlm.checkpoint import open_checkpoint
    from tape_bench.models.proteinlm.config import Given
    from tape_bench.models.proteinlm.convert import convert
    from tape_bench.models.proteinlm.megatron.writer import Sharding

    if to == "safetensors" and (tp or pp or checkpoint_version):
        raise UsageError(
            "a safetensors folder has no ranks and no checkpoint version",
            fix="leave --tp, --pp and --checkpoint-version out (the folder can be read for any "
            "number of ranks), or add --to megatron",
        )
    opened = open_checkpoint(source, Given(**keywords.read("ProteinLM", of_family, Given)))
    for note in opened.notes:
        output.note(note)
    digest = convert(
        opened,
        destination,
        to=to,
        dtype=None if dtype is None else dtype_named(dtype),
        sharding=Sharding(tp or 1, pp or 1, checkpoint_version or "3.0"),
    )
    click.echo(f"{destination}: written and read back, weights {digest[:16]}")
    if check is not None:
        from tape_bench.cli import perplexity

        click.echo()
        context.invoke(perplexity.command, model=f"proteinlm:{destination}", fasta=check)
