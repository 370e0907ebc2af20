"""`tape-bench embed`: the vectors of your own proteins, in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tape_bench.cli import completion
from tape_bench.cli.options import fasta_options, load, model_options, option

if TYPE_CHECKING:
    from tape_bench.models.embedder import Pool


@click.command(name="embed")
@click.argument("model", shell_complete=completion.models)
@click.argument("fasta", type=click.Path(path_type=Path))
@option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="OUT",
    help="File to write: OUT.npz, OUT.safetensors or OUT.parquet.",
)
@option(
    "--pool",
    type=click.Choice(["mean", "first", "residues"]),
    default="mean",
    show_default=True,
    help="One vector a protein (mean over residues, or the model's first token), or one a residue.",
)
@fasta_options
@model_options
@option("-q", "--quiet", is_flag=True, help="No progress bar and no summary; only errors.")
def command(
    model: str,
    fasta: Path,
    output: Path,
    pool: Pool,
    uppercase: bool,
    strip_stop: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Write the vectors MODEL gives the proteins of a FASTA file.

    The order of the file is kept. Nothing is held in memory but a chunk of proteins. An
    interrupted run goes on where it stopped: repeat the command.

    \b
    Examples:
        tape-bench embed proteinlm:checkpoints/3b proteins.fasta -o proteins.npz
        tape-bench embed onehot proteins.fasta.gz -o residues.parquet --pool residues

    \b
    Reading the file with numpy, safetensors or pandas:
        f = np.load("proteins.npz")
        ids, vectors = f["ids"], f["vectors"]
    \b
        f = safetensors.numpy.load_file("proteins.safetensors")
        ids, vectors = bytes(f["ids"]).decode().split("\\n"), f["vectors"]
    \b
        table = pd.read_parquet("proteins.parquet")
        ids, vectors = table["id"], table["vectors"]

    \b
    With --pool residues, protein i has as many rows as residues (in Parquet, a list of them):
        vectors[f["offsets"][i]:f["offsets"][i + 1]]
    """
    from tape_bench.cli.progress import showing
    from tape_bench.data.formats.fasta import Cleaning
    from tape_bench.export.write import write_vectors

    embedder = load(model, options)
    with showing(quiet) as progress:
        progress.begin(embedder.identity.name)
        proteins = write_vectors(
            embedder,
            fasta,
            output,
            pool,
            lambda done, total: progress.advance("embed", done, total, "residues"),
            Cleaning(uppercase, strip_stop),
        )
    if not quiet:
        click.echo(f"{output}: {len(proteins.ids):,} proteins, {proteins.residues:,} residues")
