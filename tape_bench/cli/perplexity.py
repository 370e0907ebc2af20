"""`tape-bench perplexity`: how well a model guesses residues that are hidden from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tape_bench.cli import completion
from tape_bench.cli.options import fasta_options, json_option, load, model_options, option

if TYPE_CHECKING:
    from tape_bench.embedding.perplexity import MaskedLoss

HOW_TO_READ = """\
Guessing at random among the 20 residues gives 20.0; guessing by how common each letter is in
this file gives {background:.1f}. A trained model does clearly better on natural proteins: near or
above these two, the checkpoint was not read as written (query, key and value rows in another
order, embeddings shifted by a row), or was never trained. Well below them, compare with the
perplexity its authors report."""


@click.command(name="perplexity")
@click.argument("model", shell_complete=completion.models)
@click.argument("fasta", type=click.Path(path_type=Path))
@option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Chooses which residues are hidden; the same ones from every model.",
)
@option(
    "--every-residue",
    is_flag=True,
    help="Hide each residue alone (pseudo-perplexity): no chance in it, but slow.",
)
@fasta_options
@model_options
@json_option
@option("-q", "--quiet", is_flag=True, help="No progress bar.")
def command(
    model: str,
    fasta: Path,
    seed: int,
    every_residue: bool,
    uppercase: bool,
    strip_stop: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Hide residues of the proteins in a FASTA file, and score MODEL's guesses.

    The recipe is that of pre-training: 15 % of the residues are scored; of these 80 % are
    masked, 10 % replaced at random, 10 % left. It is the quick proof that a checkpoint was read
    rightly: a hundred natural proteins are enough.

    \b
    Examples:
        tape-bench perplexity proteinlm:checkpoints/3b proteins.fasta
        tape-bench perplexity tape_bert:bert-base proteins.fasta --every-residue --json
    """
    from tape_bench.cli.progress import showing
    from tape_bench.data.formats.fasta import Cleaning, readable_again
    from tape_bench.embedding.perplexity import masked_loss
    from tape_bench.errors import ModelError
    from tape_bench.export.survey import survey
    from tape_bench.models.embedder import MaskedLanguageModel

    embedder = load(model, options)
    name = embedder.identity.name
    if not isinstance(embedder, MaskedLanguageModel):
        raise ModelError(
            f"the model {name} does not guess residues: it has no masked-language-model head",
            fix="use a model pre-trained by masking, e.g. proteinlm:PATH or tape_bert:PATH",
        )
    with readable_again(fasta) as file:
        proteins = survey(file, embedder.identity, Cleaning(uppercase, strip_stop))
        sequences = [sequence for _, sequence in proteins]
    with showing(quiet) as progress:
        progress.begin(name)
        found = masked_loss(
            embedder,
            sequences,
            seed,
            every_residue,
            lambda done, total: progress.advance("guess", done, total, "residues"),
        )
    recipe = {"every_residue": True} if every_residue else {"every_residue": False, "seed": seed}
    if as_json:
        identity = dataclasses.asdict(embedder.identity)
        del identity["rests_on"]  # for scores that are kept
        click.echo(json.dumps({"model": identity, **recipe, **dataclasses.asdict(found)}, indent=1))
    else:
        _print(found, name, len(sequences), "each alone" if every_residue else f"seed {seed}")


def _print(found: MaskedLoss, name: str, proteins: int, how: str) -> None:
    for label, value in {
        "model": name,
        "proteins": f"{proteins:,}",
        "residues": f"{found.residues:,}, of which {found.masked:,} were scored ({how})",
        "loss": f"{found.loss:.4f} nats",
        "perplexity": f"{found.perplexity:.3f}",
        "accuracy": f"{found.accuracy:.2%}",
    }.items():
        click.echo(f"{label:12}{value}")
    click.echo("\n" + HOW_TO_READ.format(background=found.background))
