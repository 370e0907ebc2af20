"""What `import tape_bench` shows, and what it must not load."""

from __future__ import annotations

import inspect
import subprocess
import sys

import tape_bench


def test_all_is_what_the_package_shows():
    shown = {
        name
        for name, value in vars(tape_bench).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(tape_bench.__all__) == shown | {"__version__"}
    assert tape_bench.__all__ == sorted(tape_bench.__all__)


def test_everything_it_shows_explains_itself():
    for name in set(tape_bench.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(tape_bench, name)), name


def test_importing_it_loads_no_heavy_library():
    script = "import sys, tape_bench; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not {"torch", "scipy", "pandas", "sklearn", "matplotlib", "jinja2"} & loaded
