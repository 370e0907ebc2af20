"""Which code is installed, which is ours, and which is the user's; and versions of the first."""

from __future__ import annotations

import platform
import re
import site
import sys
import sysconfig
import types
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path

_OURS = Path(__file__).resolve().parents[1]


class Origins:
    """Tells a user's code from an installed package's.

    The package that a model's class comes from counts as the user's, installed or not: it may
    have been changed in place.
    """

    def __init__(self, own: str) -> None:
        """Take the module that a model's class is defined in."""
        self._own = own.partition(".")[0]

    def is_ours(self, name: str) -> bool:
        """Tell whether a module belongs to this package."""
        return name.partition(".")[0] == "tape_bench"

    def is_users_class(self, cls: type) -> bool:
        """Tell whether a class is the user's."""
        return self.is_users_module(cls.__module__)

    def is_users_module(self, name: str) -> bool:
        """Tell whether a module is the user's."""
        top = name.partition(".")[0]
        if self.is_ours(name) or top in sys.stdlib_module_names:
            return False
        if top in (self._own, "__main__"):
            return True
        # What an extension makes up has no file of its own.
        files = (getattr(sys.modules.get(module), "__file__", None) for module in (name, top))
        file = next(filter(None, files), None)
        return file is None or not is_installed(str(file))

    def is_users_code(self, code: types.CodeType) -> bool:
        """Tell whether a function is the user's, wherever its decorator says it comes from."""
        file = code.co_filename
        if file.startswith("<frozen"):
            return False
        if file.startswith("<"):  # typed in, or made at run time
            return True
        own = getattr(sys.modules.get(self._own), "__path__", None)
        if own and any(Path(file).is_relative_to(folder) for folder in own):
            return self._own != "tape_bench"
        return not is_installed(file)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of installed packages and of those they require, and of Python.

    Args:
        packages: top-level names of modules.
    """
    found = {"python": platform.python_version()}
    waiting = [name for top in packages for name in _distributions(top)]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # required for another system
            continue
        found[name] = distribution.version
        for requirement in distribution.requires or ():
            if "extra ==" not in requirement:
                waiting.append(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    return dict(sorted(found.items()))


def _distributions(top: str) -> list[str]:
    if top in sys.stdlib_module_names:
        return []
    try:
        metadata.distribution(top)
    except (metadata.PackageNotFoundError, ValueError):
        return _by_module().get(top, [])
    return [top]


@cache
def _by_module() -> dict[str, list[str]]:
    """Return the packages by the modules they install; it looks at all of them."""
    return {name: list(found) for name, found in metadata.packages_distributions().items()}


@cache
def is_installed(file: str) -> bool:
    """Tell whether a file belongs to Python, to an installed package or to this one."""
    path = Path(file).resolve()
    if path.is_relative_to(_OURS) or any(path.is_relative_to(place) for place in _places()):
        return True
    # `pip install --target` puts packages anywhere, and their metadata beside them.
    return any(next(folder.glob("*.dist-info"), None) for folder in list(path.parents)[:-2])


@cache
def _places() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    found = [sysconfig.get_paths()[name] for name in names]
    found += [*site.getsitepackages(), site.getusersitepackages()]
    return tuple(Path(place).resolve() for place in found)
