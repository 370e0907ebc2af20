"""Everything that an object leads to: its values, its functions, its classes, its modules.

From the object on, each thing is described by one line, in which the things it refers to bear
numbers; the digest is over all lines. Code is followed as it is loaded, not as it lies on disk:
a function by its bytecode, constants, defaults, closure and the globals it names; a class by its
members and bases. Where a module of the user's is met, the digest of its file counts as well, and
so do the modules that it mentions: a name may be looked up at run time. An installed package is
told by its version, and nothing in it is followed.
"""

from __future__ import annotations

import copyreg
import dataclasses
import hashlib
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property, partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from tape_bench import memo
from tape_bench.models.installed import Origins, versions

_SCALARS = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_LONG = 200
"""Text longer than this is told by its digest."""

_NOT_MEMBERS = {
    "__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__annotate_func__",
    "__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl",
    "__dataclass_fields__", "__dataclass_params__", "__match_args__", "__parameters__",
    "__annotations_cache__",
}  # fmt: skip
"""Members of a class that say nothing of what it computes."""


@dataclass(frozen=True)
class Reached:
    """What an object leads to."""

    digest: str
    """SHA-256 over values, code and source files."""
    packages: dict[str, str]
    """Versions of installed packages."""


def follow(root: object) -> Reached:
    """Follow all that an object leads to."""
    walk = _Walk(root)
    while walk.waiting:
        thing = walk.waiting.popleft()
        # A look at an object may run code of its author's, which may fail in any way.
        line = memo.attempt(partial(walk.describe, thing)) or f"opaque {type(thing).__qualname__}"
        walk.lines.update(f"{line}\n".encode(errors="replace"))
    for name, digest in sorted(walk.files.items()):
        walk.lines.update(f"{name} {digest}\n".encode(errors="replace"))
    return Reached(walk.lines.hexdigest(), versions(walk.packages))


class _Walk:
    def __init__(self, root: object) -> None:
        self.lines = hashlib.sha256()
        self.waiting: deque[object] = deque()
        self.files: dict[str, str] = {}
        """Digest of the file of each module of the user's."""
        self.packages: set[str] = set()
        """Top-level names of installed modules."""
        self._origins = Origins(type(root).__module__)
        self._home = _home(type(root).__module__)
        self._numbers: dict[int, int] = {}
        self._alive: list[object] = []
        self._name(root)

    def describe(self, thing: Any) -> str:
        """Say what a thing is, and give what it refers to a number."""
        if isinstance(thing, np.ndarray):
            return self._array(thing)
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(thing, torch.Tensor):
            return self._tensor(thing, torch)
        if torch is not None and isinstance(thing, torch.nn.Module):
            return self._network(thing, torch)
        if isinstance(thing, type):
            return self._class(thing)
        if isinstance(thing, types.ModuleType):
            return self._module(thing)
        if isinstance(thing, PurePath):
            return f"path {self._name(str(thing))}"
        # The very type: what derives from a list or a dictionary may hold more.
        describe = self._kinds.get(type(thing), self._object)
        return describe(thing)

    @cached_property
    def _kinds(self) -> dict[type, Callable[[Any], str]]:
        return {
            types.FunctionType: self._function,
            types.BuiltinFunctionType: lambda f: f"builtin {f.__qualname__}",
            types.CodeType: self._code,
            dict: lambda d: f"dict {self._all(x for pair in d.items() for x in pair)}",
            list: lambda values: f"list {self._all(values)}",
            tuple: lambda values: f"tuple {self._all(values)}",
            set: self._set,
            frozenset: self._set,
            types.CellType: self._cell,
            types.MethodType: lambda m: f"method {self._all([m.__func__, m.__self__])}",
            types.MappingProxyType: lambda d: f"dict {self._name(dict(d))}",
            memoryview: lambda view: f"bytes {self._name(view.tobytes())}",
            property: lambda p: f"property {self._all([p.fget, p.fset])}",
            staticmethod: lambda s: f"static {self._name(s.__func__)}",
            classmethod: lambda c: f"class method {self._name(c.__func__)}",
            cached_property: lambda c: f"cached {self._name(c.func)}",
            type(cache(int)): lambda f: f"cached {self._name(f.__wrapped__)}",
        }

    def _name(self, thing: Any) -> str:
        """Return a scalar as it is, and of anything else its number."""
        if type(thing) in _SCALARS:
            text = repr(thing)
            if self._home and self._home in text:
                # A model that asks where it lies is the same when it is moved.
                text = text.replace(self._home, "<home>")
            return text if len(text) < _LONG else _sha(text.encode(errors="replace"))
        if id(thing) not in self._numbers:
            self._numbers[id(thing)] = len(self._numbers)
            # Kept, or another thing might get the same address.
            self._alive.append(thing)
            self.waiting.append(thing)
        return f"#{self._numbers[id(thing)]}"

    def _all(self, things: Iterable[Any]) -> str:
        things = list(things)
        if set(map(type, things)) <= {int, float, bool}:
            return repr(things)
        return " ".join(map(self._name, things))

    def _set(self, values: Any) -> str:
        # The order of a set is another each time the program starts.
        return f"set {len(values)} {sorted(map(_plain, values))}"

    def _cell(self, cell: types.CellType) -> str:
        try:
            return f"cell {self._name(cell.cell_contents)}"
        except ValueError:
            return "empty cell"

    def _array(self, array: Any) -> str:
        about = f"array {array.dtype} {array.shape}"
        if isinstance(array, np.memmap) and isinstance(array.filename, (str, Path)):
            # It may be larger than the memory: a file is told as the file system tells it.
            status = Path(array.filename).stat()
            return f"{about} mapped {array.offset} {status.st_size} {status.st_mtime_ns}"
        if array.dtype.hasobject:
            return f"{about} {self._all(array.ravel().tolist())}"
        return f"{about} {_sha(np.ascontiguousarray(array).view(np.uint8).data)}"

    def _tensor(self, tensor: Any, torch: Any) -> str:
        about = f"tensor {tensor.dtype} {list(tensor.shape)}"
        try:
            content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
        except (RuntimeError, TypeError, NotImplementedError):  # sparse, quantised, without data
            return f"{about} {tensor.layout} {self._foreign(tensor, type(tensor))}"
        return f"{about} {_sha(content.data)}"

    def _network(self, network: Any, torch: Any) -> str:
        """Describe a torch module by its weights, and by what else its class's author set."""
        cls = type(network)
        state = [dict(network._parameters), dict(network._modules), network.training]
        # A user's own are for him to decide; a library works them out from the others.
        users = self._origins.is_users_class(cls)
        unsaved = set() if users else network._non_persistent_buffers_set
        state.append({n: b for n, b in network._buffers.items() if n not in unsaved})
        torchs_own = vars(torch.nn.Module())
        rest = {n: v for n, v in vars(network).items() if n not in torchs_own}
        if not users:
            # A library's network keeps what it works out on the way in names of its own.
            rest = {n: v for n, v in rest.items() if n[0] != "_" and type(v) in _SCALARS}
        hooks = [*network._forward_hooks.values(), *network._forward_pre_hooks.values()]
        return f"network {self._all([cls, *state, rest, hooks])}"

    def _object(self, thing: Any) -> str:
        cls = type(thing)
        ours = self._origins.is_ours(cls.__module__) and hasattr(thing, "embed")
        # One that was trained on in memory is no longer what its identity says.
        if ours and not getattr(thing, "changed", False):
            return self._model_of_ours(thing)
        if self._origins.is_users_class(cls):
            state = dict(getattr(thing, "__dict__", {}))
            for base in cls.__mro__:
                slots = base.__dict__.get("__slots__", ())
                for name in [slots] if isinstance(slots, str) else slots:
                    if hasattr(thing, name):
                        state[name] = getattr(thing, name)
            parts = [cls, state]
            if isinstance(thing, dict):
                parts.append(list(thing.items()))
            elif isinstance(thing, (list, tuple)):
                parts.append(list(thing))
            return f"object {self._all(parts)}"
        return self._foreign(thing, cls)

    def _foreign(self, thing: Any, cls: type) -> str:
        """Describe an object of a library by what it would be pickled as, if it can be."""
        try:
            # Some kinds, a regular expression for one, leave it to a table.
            reduce = copyreg.dispatch_table.get(cls)
            reduced = reduce(thing) if reduce else thing.__reduce_ex__(4)
            if isinstance(reduced, str):
                return f"global {self._name(cls)} {reduced}"
            # What it is made by, its arguments and state; then iterators over what it holds.
            parts = [part if n < 3 else list(part or ()) for n, part in enumerate(reduced[:5])]
        # Any library's code may run here. What cannot be pickled is told by its class and what it
        # shows of itself; the probes are left to show what it does.
        except Exception:
            return f"opaque {self._all([cls, getattr(thing, '__dict__', {})])}"
        return f"of a library {self._all([cls, *parts])}"

    def _model_of_ours(self, model: Any) -> str:
        """Describe a model of ours that a user's hands its questions on to, as its key does."""
        told = dataclasses.asdict(model.identity)
        # Where its weights lie may change.
        del told["spec"]
        return f"ours {self._all([type(model), told])}"

    def _function(self, function: types.FunctionType) -> str:
        cells = list(function.__closure__ or ())
        if not self._origins.is_users_code(function.__code__):
            self._mention(function.__module__)
            wrapped = getattr(function, "__wrapped__", None)
            named = f"{function.__module__}.{function.__qualname__}"
            return f"function {named} {self._all([*cells, wrapped])}"
        self._mention(function.__module__)
        defaults = [function.__defaults__, function.__kwdefaults__, dict(function.__dict__)]
        used = self._used(function)
        return f"function {self._all([function.__code__, *defaults, *cells, used])}"

    def _used(self, function: types.FunctionType) -> dict[str, Any]:
        """Return what a function finds by name: globals, and attributes of modules it names."""
        names = sorted(_names(function.__code__))
        known = function.__globals__
        used: dict[str, Any] = {name: known[name] for name in names if name in known}
        package = known.get("__package__") or ""
        for name in names:
            # A name may be that of a module imported where it is used.
            for full in (name, f"{package}.{name}"):
                if full in sys.modules and full not in used:
                    used[full] = sys.modules[full]
        waiting, seen = [v for v in used.values() if isinstance(v, types.ModuleType)], set()
        while waiting:
            module = waiting.pop()
            if module.__name__ in seen or not self._origins.is_users_module(module.__name__):
                continue
            seen.add(module.__name__)
            for name in names:
                if name in vars(module):
                    value = used[f"{module.__name__}:{name}"] = vars(module)[name]
                    if isinstance(value, types.ModuleType):
                        waiting.append(value)
        return used

    def _code(self, code: types.CodeType) -> str:
        parts = [code.co_code, code.co_names, code.co_consts, code.co_varnames, code.co_flags]
        return f"code {self._all(parts)}"

    def _class(self, cls: type) -> str:
        self._mention(cls.__module__)
        named = f"class {cls.__module__}.{cls.__qualname__}"
        if not self._origins.is_users_class(cls):
            return named
        members = {n: v for n, v in vars(cls).items() if n not in _NOT_MEMBERS}
        return f"{named} {self._all([members, *cls.__bases__, type(cls)])}"

    def _module(self, module: types.ModuleType) -> str:
        self._mention(module.__name__)
        return f"module {module.__name__}"

    def _mention(self, name: str | None) -> None:
        """Take in the file of a user's module, and of those it mentions; a library's version."""
        waiting = [name]
        while waiting:
            name = waiting.pop()
            if not isinstance(name, str) or name in self.files:
                continue
            if not self._origins.is_users_module(name):
                if not self._origins.is_ours(name):
                    self.packages.add(name.partition(".")[0])
                continue
            # What a script does beside defining the model is none of the model's business; the
            # functions and classes it defines are followed one by one.
            module = sys.modules.get(name)
            if module is None or name == "__main__":
                continue
            self.files[name] = _file_digest(getattr(module, "__file__", None))
            waiting.append(name.rpartition(".")[0] or None)
            waiting += [_module_of(value) for value in list(vars(module).values())]


def _plain(value: object) -> str:
    """Tell what a set may hold in words that are the same each time the program starts."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_plain, value))})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(_plain, value)))}}}"
    known = type(value) in _SCALARS or isinstance(value, (np.generic, Enum, PurePath))
    return repr(value) if known else type(value).__qualname__


def _module_of(value: object) -> str | None:
    if isinstance(value, types.ModuleType):
        return value.__name__
    try:
        found: str | None = getattr(value, "__module__", None)
    except Exception:  # an object of any library, which may answer as it likes
        return None
    return found


def _names(code: types.CodeType) -> set[str]:
    """Return the names a function and those within it look up."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def _home(module: str) -> str:
    """Return the folder that a module, or the package it is in, lies in; "" where there is none."""
    file = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None)
    if file is None:
        return ""
    lies = Path(file).absolute()
    return str(lies.parent.parent if lies.name == "__init__.py" else lies.parent)


def _file_digest(file: object) -> str:
    try:
        return _sha(Path(str(file)).read_bytes())
    except OSError:  # a namespace package, or a module that no file stands behind
        return "no file"


def _sha(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
