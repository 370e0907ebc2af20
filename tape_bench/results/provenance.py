"""What ran, where: versions, commit, machine and memory."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

from tape_bench.results.record import ProvenanceRecord

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "triton", "safetensors")


def collect(devices: list[str], world: int = 1) -> ProvenanceRecord:
    """Describe this process: package and library versions, commit, command, devices."""
    commit, dirty = _commit()
    return ProvenanceRecord(
        package_version=version("tape-bench") or "unknown",
        git_commit=commit,
        git_dirty=dirty,
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
        python=platform.python_version(),
        packages=dict(_packages()),
        devices=devices,
        world=world,
        started=now(),
    )


def now() -> str:
    """Return the time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def _packages() -> dict[str, str]:
    """Look the versions up once: a process keeps what it has imported."""
    return {name: found for name in PACKAGES if (found := version(name))}


@cache
def processor() -> str:
    """Return the processor's name and the number of cores this process may use."""
    name = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(errors="replace").splitlines()
        name = next((ln.split(":", 1)[1].strip() for ln in lines if "model name" in ln), name)
    return f"{name}, {usable_cores()} cores"


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """Return the largest resident size of this process so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@cache
def _commit() -> tuple[str | None, bool | None]:
    """Ask git once: what this process has loaded does not change with the checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None, None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()
