"""What `import tape_bench` shows, and what it must not load."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import tape_bench


def test_all_is_what_the_package_shows():
    for name in tape_bench.__all__:
        assert getattr(tape_bench, name) is not None
    shown = {
        name
        for name, value in vars(tape_bench).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", "").startswith("tape_bench")
    }
    assert set(tape_bench.__all__) == shown | {"__version__"}
    assert tape_bench.__all__ == sorted(tape_bench.__all__)
    assert set(tape_bench.__all__) <= set(dir(tape_bench))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tape_bench.nonsense  # noqa: B018


def test_type_checkers_are_told_the_same():
    """What is imported for them only stands beside where it is brought from."""
    tree = ast.parse(Path(tape_bench.__file__).read_text("utf-8"))
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node)
    )
    told = {
        alias.name: node.module.removeprefix("tape_bench.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert told == tape_bench._PLACES


def test_everything_it_shows_explains_itself():
    for name in set(tape_bench.__all__) - {"__version__"}:
        assert inspect.getdoc(getattr(tape_bench, name)), name


def test_importing_it_loads_no_heavy_library():
    names = ", ".join(tape_bench.__all__)
    script = f"import sys; from tape_bench import {names}; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not {"torch", "scipy", "pandas", "sklearn", "matplotlib", "jinja2"} & loaded
