"""What the GPU's benchmarks share: the card, clocks that are right on it, and a budget of time."""

from __future__ import annotations

import platform
import statistics
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch


@dataclass
class Session:
    """One script's run: where it computes, how long it may take, and what went wrong."""

    title: str
    rehearse: bool
    budget: float
    started: float = field(default_factory=time.perf_counter)
    faults: list[str] = field(default_factory=list)

    @property
    def device(self) -> torch.device:
        """A GPU, or for a rehearsal the CPU."""
        return torch.device("cpu" if self.rehearse else "cuda")

    @property
    def dtype(self) -> torch.dtype:
        """What is measured in: float16, and in a rehearsal what a CPU computes fast."""
        return torch.float32 if self.rehearse else torch.float16

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - (time.perf_counter() - self.started)

    def begin(self) -> None:
        """Print what is measured and on what."""
        if not self.rehearse and not torch.cuda.is_available():
            sys.exit("there is no CUDA device here; --rehearse runs the same at tiny shapes")
        print(f"# {self.title}\n\n{machine(self.device)}\n", flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Do a part, and go on with the next whatever becomes of it."""
        try:
            yield
        except TimeUpError:
            print(f"(no time left for: {name})", flush=True)
        except Exception:
            self.faults.append(name)
            print(f"FAILED: {name}", flush=True)
            traceback.print_exc(file=sys.stdout)

    def need(self, seconds: float) -> None:
        """End a part that there is no time for."""
        if self.left < seconds:
            raise TimeUpError

    def end(self) -> None:
        """Print where the clock stands, and fail if a part failed."""
        print(f"\n{time.perf_counter() - self.started:.0f} s; {clocks(self.device)}", flush=True)
        if self.faults:
            sys.exit(f"failed: {', '.join(self.faults)}")


class TimeUpError(Exception):
    """The budget is spent."""


def machine(device: torch.device) -> str:
    """Say what computes, and by which versions."""
    if device.type == "cpu":
        return f"REHEARSAL on a CPU, torch {torch.__version__}: no figure here means anything."
    import triton

    return (
        f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, CUDA "
        f"{torch.version.cuda}, triton {triton.__version__}, Python {platform.python_version()}; "
        f"{clocks(device)}"
    )


def clocks(device: torch.device) -> str:
    """Read the card's clocks, draw and temperature; nothing is set."""
    if device.type == "cpu":
        return "no clocks"
    asked = "driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu"
    try:
        said = subprocess.run(
            ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return f"clocks unknown ({type(error).__name__})"
    return f"driver, SM and memory clock, draw, temperature: {said}"


def milliseconds(run: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Time an operation that is queued in no time: captured in a graph, the median of replays."""
    if device.type == "cpu":
        started = time.perf_counter()
        run()
        return (time.perf_counter() - started) * 1000
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            run()
    taken = []
    for _ in range(7):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        taken.append(start.elapsed_time(end) / repeats)
    return statistics.median(taken[1:])


def queued(run: Callable[[], object], device: torch.device, repeats: int = 20) -> float:
    """Time an operation by the GPU's clock with calls in a row, the host's time included."""
    run()
    if device.type == "cpu":
        return milliseconds(run, device)
    torch.cuda.synchronize()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(repeats):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / repeats
