"""Does it run at all, and what can the card do: before anything else is measured.

    python -m benchmarks.gpu.smoke [--rehearse]

Prints which implementations run, what copying and matrix products reach at the engine's shapes,
how far packed half precision is from float32, and runs the tests marked `gpu`.
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from importlib import import_module

import click
import numpy as np
import torch
from torch.nn import functional

from benchmarks.gpu.common import Session, milliseconds, queued
from benchmarks.networks import CONFIGS, network
from tape_bench import kernels
from tape_bench.embedding.in_memory import represent
from tape_bench.kernels import attention
from tape_bench.speed import synthetic

linear = import_module("tape_bench.kernels.linear")

SHAPES = {"3b": 2560, "200m": 1024}


def ceilings(session: Session) -> None:
    """Measure copying, and products of every shape."""
    device, dtype = session.device, session.dtype
    numbers = 1 << (14 if session.rehearse else 31)
    source = torch.empty(numbers, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    taken = queued(lambda: target.copy_(source), device)
    print(f"copy: {2 * numbers / taken / 1e9:,.2f} TB/s, read and written\n")
    print("| model | tokens | map | TFLOP/s | sustained |\n|---|---:|---|---:|---:|", flush=True)
    for model, hidden in SHAPES.items():
        width = 64 if session.rehearse else hidden
        for tokens in (256,) if session.rehearse else (16_384, 65_536):
            for name, inputs, outputs in (
                ("query, key, value", width, 3 * width),
                ("dense", width, width),
                ("expand", width, 4 * width),
                ("contract", 4 * width, width),
            ):
                x = torch.randn(tokens, inputs, device=device, dtype=dtype)
                weight = torch.randn(outputs, inputs, device=device, dtype=dtype)
                product = partial(functional.linear, x, weight)
                work = 2 * tokens * inputs * outputs
                once = work / milliseconds(product, device) / 1e9
                lasting = 0.0
                if name == "expand":
                    repeats = 2 if session.rehearse else int(1.5e15 / work)
                    lasting = work / queued(product, device, repeats)
                    lasting /= 1e9
                said = f"{lasting:,.0f}" if lasting else ""
                print(f"| {model} | {tokens} | {name} | {once:,.0f} | {said} |", flush=True)


def what_runs(session: Session) -> None:
    """Print the choices that follow from the card and the versions."""
    for operation, how in kernels.running().items():
        print(f"- {operation}: {how}")
    if session.rehearse:
        return
    device = session.device
    print(f"- flash attention: {attention.flash_attention(device)}")
    for dtype in (torch.float16, torch.bfloat16):
        print(f"- GELU in the product, {dtype}: {linear._bends(device, dtype)}")
        print(f"- sum in the product, {dtype}: {linear._adds_in_float32(device, dtype)}")


def accuracy(session: Session) -> None:
    """Compare half precision on this device with float32 on it, over mixed lengths."""
    shapes = ["tiny"] if session.rehearse else ["tiny", "200m"]
    proteins = synthetic.proteins([1, 3, 45, 45, 64, 126, 127, 128, 129, 200, 237, 500, 1000])
    for shape in shapes:
        exact = network(CONFIGS[shape], torch.float32, session.device)
        for dtype in (torch.float16, torch.bfloat16):
            model = network(CONFIGS[shape], dtype, session.device)
            with represent(model, proteins, "residues") as found:
                low = np.concatenate([found[protein] for protein in proteins])
            with represent(exact, proteins, "residues") as found:
                high = np.concatenate([found[protein] for protein in proteins])
            error = np.linalg.norm(low - high, axis=1) / np.linalg.norm(high, axis=1)
            print(
                f"- {shape}, {dtype}, residues against float32: median {np.median(error):.1e}, "
                f"largest {error.max():.1e}",
                flush=True,
            )


def tests(session: Session) -> None:
    """Run the tests that need a GPU."""
    session.need(30)
    started = time.perf_counter()
    places = ["tests/kernels", "tests/models", "tests/heads"]
    chosen = ["-m", "gpu", "-q", "-p", "no:cacheprovider", *places]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *(["--collect-only"] if session.rehearse else []),
            *chosen,
        ],
        capture_output=True,
        text=True,
        timeout=max(session.left, 30),
        check=False,
    )
    said = done.stdout[-6000:] if done.returncode else done.stdout.splitlines()[-1]
    print(f"tests marked gpu ({time.perf_counter() - started:.0f} s): {said}")
    if done.returncode:
        raise RuntimeError(f"pytest ended with {done.returncode}: {done.stderr[-2000:]}")


@click.command()
@click.option("--rehearse", is_flag=True, help="The same on a CPU, at tiny shapes.")
@click.option("--budget", type=float, default=180, show_default=True, help="Seconds.")
def main(rehearse: bool, budget: float) -> None:
    """Look whether the GPU path runs."""
    session = Session("Smoke: what runs, and what the card can do", rehearse, budget)
    session.begin()
    with session.part("what runs"):
        what_runs(session)
    with session.part("accuracy"):
        accuracy(session)
    with session.part("ceilings"):
        ceilings(session)
    with session.part("tests"):
        tests(session)
    session.end()


if __name__ == "__main__":
    main()
