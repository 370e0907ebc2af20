"""`tape-bench doctor`: what this machine has, before a long run finds out what it has not."""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import click

from tape_bench import paths
from tape_bench.cli.options import data_option, json_option


@click.command(name="doctor")
@data_option
@json_option
def command(data: str | None, as_json: bool) -> None:
    """Tell what this machine has: cores, memory, GPUs, kernels, data, disk.

    Nothing is changed. Anything that would keep a run from working is marked with '!'.
    """
    findings = _findings(data)
    if as_json:
        click.echo(json.dumps(findings, indent=1))
        return
    for section, lines in findings.items():
        click.secho(section, bold=True)
        for name, value in lines.items():
            click.echo(f"  {name:18} {value}")


def _findings(data: str | None) -> dict[str, dict[str, Any]]:
    import psutil

    from tape_bench.results import provenance

    packages = {name: provenance.version(name) or "-" for name in provenance.PACKAGES}
    memory = psutil.virtual_memory()
    return {
        "software": {
            "tape-bench": provenance.version("tape-bench"),
            "python": platform.python_version(),
            **packages,
        },
        "machine": {
            "processor": provenance.processor(),
            "memory": f"{_gib(memory.total)}, {_gib(memory.available)} free",
        },
        "accelerators": _accelerators(),
        "kernels": _kernels(),
        "data": _data(data),
        "disk": {
            name: f"{path} ({_gib(_free(path))} free)"
            for name, path in [
                ("data root", paths.data()),
                ("cache", paths.cache()),
                ("results", paths.results().absolute()),
            ]
        },
    }


def _accelerators() -> dict[str, str]:
    import torch

    if not torch.cuda.is_available():
        return {"GPU": "none: everything runs on the CPU"}
    found = {}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        capability = f"sm_{properties.major}{properties.minor}"
        found[f"cuda:{index}"] = f"{properties.name}, {_gib(properties.total_memory)}, {capability}"
    return found


def _kernels() -> dict[str, str]:
    import torch

    from tape_bench import kernels

    cpu = torch.device("cpu")
    widened = [
        name
        for name in ("bfloat16", "float16")
        if kernels.arithmetic(getattr(torch, name), cpu) == torch.float32
    ]
    return {
        **kernels.running(),
        "CPU": f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, "
        f"computes {' and '.join(widened)} in float32",
    }


def _data(place: str | None) -> dict[str, str]:
    from tape_bench import registry
    from tape_bench.data.examples import load_task
    from tape_bench.errors import TapeBenchError

    found = {}
    for name in registry.task_names():
        try:
            task = load_task(name, place or paths.data())
            counts = ", ".join(f"{split} {task[split].n_total}" for split in task)
            found[name] = f"{task.status}: {counts}"
        except TapeBenchError as error:
            found[name] = f"! {error.what}"
    return found


def _free(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
