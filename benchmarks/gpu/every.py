"""All of the GPU's benchmarks, one process each, every table kept as soon as it is there.

    python -m benchmarks.gpu.every FOLDER [--only smoke --only kernels …]

A step that fails or runs out of its time does not keep the others from theirs.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import click

ENGINE = "benchmarks.engine --device cuda --dtype float16"
BEST = "--peer sums-apart --peer padded-sorted"
ALL = f"--peer padded --peer transformers --peer TAPE-like {BEST}"
STEPS: dict[str, tuple[str, int]] = {
    "smoke": ("benchmarks.gpu.smoke", 180),
    "kernels": ("benchmarks.gpu.kernels", 60),
    "engine-3b": (f"{ENGINE} --shape 3b {ALL}", 150),
    "engine-650m": (f"{ENGINE} --shape 650m --proteins 16384 {BEST}", 75),
    "engine-200m": (f"{ENGINE} --shape 200m --proteins 40960 {BEST}", 75),
    "profile": ("benchmarks.gpu.profile", 60),
    "launches": ("benchmarks.gpu.launches", 60),
    "cache": ("benchmarks.gpu.cache", 90),
    "tensor-parallel": ("benchmarks.gpu.tensor_parallel", 60),
}
"""By name, what is run and how many seconds it may take."""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--only", multiple=True, type=click.Choice(list(STEPS)), help="Default: all.")
def main(folder: Path, only: tuple[str, ...]) -> None:
    """Run benchmarks and keep what they print in FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or STEPS:
        command, seconds = STEPS[name]
        started = time.perf_counter()
        path = folder / f"{name}.md"
        with path.open("w", encoding="utf-8") as table:
            try:
                done = subprocess.run(
                    [sys.executable, "-u", "-m", *command.split()],
                    stdout=table, stderr=subprocess.STDOUT, timeout=seconds, check=False,
                )  # fmt: skip
                how = f"exit {done.returncode}"
            except subprocess.TimeoutExpired:
                how = "out of time"
        print(f"== {name}: {how}, {time.perf_counter() - started:.0f} s", flush=True)
        print(path.read_text(encoding="utf-8")[-5000:], flush=True)


if __name__ == "__main__":
    main()
