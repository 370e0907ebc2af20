"""What a user's model rests on is seen by looking: whatever is changed, it does not go unseen."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tape_bench import load_model
from tape_bench.errors import ModelError
from tape_bench.models import installed
from tape_bench.models.evidence import PROBES, TOLERANCE, Evidence, agree, with_evidence

MODEL = """
import numpy as np
from tape_bench.models.embedder import Identity

IDENTITY = Identity(
    spec="python:mine.py:Mine", name="mine", revision="1", weights_digest="a" * 64, parameters=1,
    hidden_size=2, longest_input=None, pretraining=None,
)

def pooled(rows, pool):
    rows = np.array(rows, np.float32)
    return {"residues": rows, "mean": rows.mean(0), "first": rows[0]}[pool]

class Plain:
    identity = IDENTITY
    scale = 1.0
    def vector(self, letter):
        return [ord(letter) * self.scale, 1.0]
    def embed(self, sequences, pool="residues"):
        return [pooled([self.vector(letter) for letter in s], pool) for s in sequences]
"""

Look = Callable[..., Evidence]


@pytest.fixture
def look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write files, load the model as a program that has just started would, and look at it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    there = set(sys.modules)

    def leave() -> None:
        for name in set(sys.modules) - there:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]
        importlib.invalidate_caches()
        installed._by_module.cache_clear()

    def load(spec: str = "python:mine:Mine", **files: str) -> Any:
        for name, text in {"base.py": MODEL, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        leave()
        return load_model(spec)

    def look(**files: str) -> Evidence:
        found = with_evidence(load(**files)).rests_on
        assert found is not None
        return found

    look.load = load  # type: ignore[attr-defined]
    yield look
    leave()


def same(one: Evidence, other: Evidence) -> bool:
    return one.digest == other.digest and agree(one.probes, other.probes)


INHERITED = "from base import Plain\nclass Mine(Plain):\n    pass\n"
DELEGATED = """
import base
class Mine(base.Plain):
    def embed(self, sequences, pool="residues"):
        return self.other().embed(sequences, pool)
    def other(self):
        return base.Plain()
"""
IMPORTED_LATE = """
from base import Plain
class Mine(Plain):
    def vector(self, letter):
        from late import value
        return [value(letter), 1.0]
"""
BY_NAME = """
import base, tables
class Mine(base.Plain):
    def vector(self, letter):
        return [getattr(tables, "value_of")(letter), 1.0]
"""
A_CLASS_FROM_A_FUNCTION = """
import os
from base import Plain
def make(factor):
    class Made(Plain):
        def vector(self, letter):
            return [ord(letter) * (factor if letter in "JJ" else 1.0), 1.0]
    return Made
Mine = make(float(os.environ.get("FACTOR", "1")))
"""
A_CLOSURE = """
import os
from base import Plain
def scaled(table):
    return lambda letter: [table.get(letter * 3, 1.0), 1.0]
class Mine(Plain):
    vector = staticmethod(scaled({"JJJ": float(os.environ.get("FACTOR", "1"))}))
"""
A_TABLE = """
import json
from base import Plain
class Mine(Plain):
    def __init__(self):
        self.table = json.load(open("table.json"))
    def vector(self, letter):
        return [self.table.get(letter, 0.0), 1.0]
"""
A_TABLE_READ_LATE = """
import json
from base import Plain
class Mine(Plain):
    def vector(self, letter):
        with open("table.json") as file:
            return [json.load(file).get(letter, 0.0), 1.0]
"""
A_TABLE_IN_A_MODULE = """
import tables
from base import Plain
class Mine(Plain):
    def vector(self, letter):
        return [tables.TABLE.get(letter, 0.0), 1.0]
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"mine.py": MODEL + "class Mine(Plain): pass"},
         {"mine.py": MODEL.replace("ord(letter)", "-ord(letter)") + "class Mine(Plain): pass"}),
        ({"mine.py": INHERITED},
         {"mine.py": INHERITED, "base.py": MODEL.replace("* self", "+ self")}),
        ({"mine.py": DELEGATED},
         {"mine.py": DELEGATED, "base.py": MODEL.replace(" 1.0]", " 2.0]")}),
        # None of these three changes an answer to a probe.
        ({"mine.py": INHERITED},
         {"mine.py": INHERITED, "base.py": MODEL.replace("ord(letter", "ord(letter or 'J'")}),
        ({"mine.py": IMPORTED_LATE, "late.py": "def value(letter): return 1.0"},
         {"mine.py": IMPORTED_LATE, "late.py": "def value(letter): return 1.0 + (letter == 'J')"}),
        ({"mine.py": BY_NAME, "tables.py": "def value_of(letter): return 1.0"},
         {"mine.py": BY_NAME, "tables.py": "def value_of(letter): return 1.0 + (letter == 'J')"}),
        ({"mine.py": A_TABLE, "table.json": '{"A": 1.0, "J": 1.0}'},
         {"mine.py": A_TABLE, "table.json": '{"A": 1.0, "J": 2.0}'}),
        ({"mine.py": A_TABLE_READ_LATE, "table.json": '{"A": 1.0}'},
         {"mine.py": A_TABLE_READ_LATE, "table.json": '{"A": 1.001}'}),
        ({"mine.py": A_TABLE_READ_LATE, "table.json": '{"A": 1.0, "J": 1.0}'},
         {"mine.py": A_TABLE_READ_LATE, "table.json": '{"A": 1.0, "J": 2.0}'}),
        ({"mine.py": A_TABLE_IN_A_MODULE, "tables.py": "import json\nTABLE = json.load(open('t'))",
          "t": '{"J": 1}'},
         {"mine.py": A_TABLE_IN_A_MODULE, "tables.py": "import json\nTABLE = json.load(open('t'))",
          "t": '{"J": 2}'}),
    ],
    ids=["the class", "inherited", "delegated", "inherited, no probe sees it", "imported late",
         "found by its name", "a table's entry that no probe asks for", "a table read late",
         "a table read late, an entry that no probe asks for",
         "a table of a module"],
)  # fmt: skip
def test_changed_files_do_not_go_unseen(look: Look, before: dict[str, str], after: dict[str, str]):
    first = look(**before)
    assert same(look(**before), first), "nothing has changed"
    assert not same(look(**after), first)
    assert same(look(**before, **{"base.py": MODEL}), first), "and back"


@pytest.mark.parametrize("source", [A_CLASS_FROM_A_FUNCTION, A_CLOSURE])
def test_a_value_that_a_function_was_made_with(
    look: Look, source: str, monkeypatch: pytest.MonkeyPatch
):
    first = look(**{"mine.py": source})
    monkeypatch.setenv("FACTOR", "2")
    other = look(**{"mine.py": source})
    assert agree(first.probes, other.probes), "no probe sees it"
    assert first.digest != other.digest


def library(
    version: str, requires: str = "", code: str = "def one(): return 1.0"
) -> dict[str, str]:
    told = f"Metadata-Version: 2.1\nName: some-lib\nVersion: {version}\n{requires}"
    other = "Metadata-Version: 2.1\nName: other-lib\nVersion: 1.0\n"
    return {
        "lib/some_lib/__init__.py": code,
        "lib/some_lib-1.dist-info/METADATA": told,
        "lib/some_lib-1.dist-info/RECORD": "some_lib/__init__.py,,\n",
        "lib/other_lib-1.dist-info/METADATA": other,
    }


HELD = """
import functools, importlib, os, re, sqlite3, threading, types
from pathlib import Path
import numpy as np
import torch
from base import Plain
HERE = Path(__file__).parent
FILE = (HERE / "value.txt").read_text
def VALUE():
    return os.environ["VALUE"]
class Buffered(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.register_buffer("table", torch.tensor([value]), persistent=False)
class Mine(Plain):
    def __init__(self):
        self.held = {}
"""


@pytest.mark.parametrize(
    "held",
    [
        "{(1, VALUE())}",
        "frozenset([frozenset([np.int64(VALUE())])])",
        "re.compile(VALUE())",
        "types.MappingProxyType({1: VALUE()})",
        "memoryview(bytearray(VALUE(), 'ascii'))",
        "Buffered(float(VALUE()))",
        "torch.tensor([0.0, float(VALUE())]).to_sparse()",
        "threading.local(); self.held.value = VALUE()",
    ],
)
def test_what_a_model_holds_is_looked_into(look: Look, held: str, monkeypatch: pytest.MonkeyPatch):
    files = {"mine.py": HELD.format(held), "value.txt": ""}
    monkeypatch.setenv("VALUE", "1")
    first = look(**files)
    assert same(look(**files), first), "nothing has changed"
    monkeypatch.setenv("VALUE", "2")
    other = look(**files)
    assert agree(other.probes, first.probes), "no probe shows it"
    assert other.digest != first.digest


def test_a_file_read_while_the_model_is_made(look: Look):
    source = HELD.format("functools.cache(lambda: FILE()); self.held()")
    first = look(**{"mine.py": source, "value.txt": "1"})
    assert same(look(**{"mine.py": source, "value.txt": "1"}), first), "nothing has changed"
    assert not same(look(**{"mine.py": source, "value.txt": "2"}), first)


@pytest.mark.parametrize(
    ("opened", "asked"),
    [
        ("sqlite3.connect(HERE / 'table')", "held.execute('select * from t').fetchone()"),
        ("None", "sqlite3.connect(HERE / 'table').execute('select * from t').fetchone()"),
    ],
    ids=["kept open", "opened each time"],
)
def test_a_table_in_a_database(look: Any, tmp_path: Path, opened: str, asked: str):
    import sqlite3

    def write(value: int) -> None:
        (tmp_path / "table").unlink(missing_ok=True)
        with sqlite3.connect(tmp_path / "table") as table:
            table.execute("create table t (value integer)")
            table.execute(f"insert into t values ({value})")
        table.close()

    source = HELD.format(opened) + (
        f"    def vector(self, letter):\n        held = self.held\n        {asked}\n"
        "        return super().vector(letter)\n"
    )
    files = {"mine.py": source, "value.txt": ""}
    write(1)
    first = look(**files)
    assert same(look(**files), first), "nothing has changed"
    write(2)
    assert not same(look(**files), first)


def test_a_module_whose_name_is_put_together(look: Look):
    source = HELD.format("importlib.import_module('la' + 'te').table")
    one = {"mine.py": source, "value.txt": "", "late.py": "def table(): return 1"}
    first = look(**one)
    assert same(look(**one), first), "nothing has changed"
    assert not same(look(**one | {"late.py": "def table(): return 2"}), first)


def test_a_model_that_knows_where_it_lies_may_be_moved(tmp_path: Path, monkeypatch: Any):
    source = MODEL.replace("class Plain", "from pathlib import Path\nPLACE = Path(__file__)\n"
        "class Plain").replace("scale = 1.0", "place = [PLACE.parent / 'x', str(PLACE), 'y']"
        "\n    scale = 1.0")  # fmt: skip
    found = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(source)
        monkeypatch.setattr(sys, "path", list(sys.path))
        found.append(with_evidence(load_model(f"python:{tmp_path / name}/mine.py:Plain")).rests_on)
    assert same(*found)


def test_a_model_that_asks_one_of_ours(look: Look, tmp_path: Path):
    import json

    source = """
import dataclasses
from tape_bench import load_model
from base import IDENTITY
class Mine:
    def __init__(self):
        self.asked = load_model("random:config.json")
        self.identity = dataclasses.replace(IDENTITY, hidden_size=8)
    def embed(self, sequences, pool="residues"):
        return self.asked.embed(sequences, pool)
"""
    small = {
        "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "vocab_size": 31,
        "max_position_embeddings": 128, "layer_norm_eps": 1e-12, "hidden_act": "gelu_new",
    }  # fmt: skip
    files = {"mine.py": source, "config.json": json.dumps(small)}
    first = look(**files)
    assert same(look(**files), first), "nothing has changed"
    deeper = json.dumps(small | {"num_hidden_layers": 2})
    assert not same(look(**files | {"config.json": deeper}), first)


def test_an_upgraded_library(look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    source = "import some_lib\n" + INHERITED
    first = look(**{"mine.py": source}, **library("1.0", "Requires-Dist: other-lib>=1\n"))
    assert first.packages["some-lib"] == "1.0"
    assert first.packages["other-lib"] == "1.0", "what it requires counts as well"
    assert first.packages["python"] == ".".join(map(str, sys.version_info[:3]))
    other = look(**{"mine.py": source}, **library("1.1", "Requires-Dist: other-lib>=1\n"))
    assert other.code == first.code, "an installed package is told by its version"
    assert other.digest != first.digest


def test_an_installed_model_changed_in_place(
    look: Look, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    code = MODEL + "def load(argument, *, dtype=None, device=None): return Plain()\n"
    points = {"lib/some_lib-1.dist-info/entry_points.txt":
              "[tape_bench.models]\nsomeones = some_lib:load\n"}  # fmt: skip
    first = look(spec="someones", **library("1.0", code=code), **points)
    again = look(spec="someones", **library("1.0", code=code), **points)
    assert same(first, again)
    other = look(
        spec="someones", **library("1.0", code=code.replace("ord(", "ord(letter and ")), **points
    )
    assert agree(first.probes, other.probes)
    assert other.digest != first.digest


def test_an_object_that_has_been_changed(look: Any):
    model = look.load(**{"mine.py": INHERITED})
    first = with_evidence(model).rests_on
    assert same(with_evidence(model).rests_on, first)
    model.scale = 2.0
    assert not same(with_evidence(model).rests_on, first)
    model.scale = 1.0
    model.unused = np.zeros(3)
    second = with_evidence(model).rests_on
    assert second.digest != first.digest
    model.unused[1] = 1.0
    assert with_evidence(model).rests_on.digest != second.digest


def test_one_weight_of_a_network_that_no_probe_reads(look: Any):
    import torch

    model = look.load(**{"mine.py": INHERITED})
    model.network = torch.nn.Sequential(torch.nn.Embedding(40, 3), torch.nn.Linear(3, 2))
    first = with_evidence(model).rests_on
    assert same(with_evidence(model).rests_on, first)
    with torch.no_grad():
        model.network[0].weight[39, 1] += 1e-6
    other = with_evidence(model).rests_on
    assert agree(first.probes, other.probes)
    assert first.digest != other.digest


def test_what_the_model_does_not_lead_to_changes_nothing(look: Look):
    first = look(**{"mine.py": INHERITED, "notes.py": "1"})
    assert same(look(**{"mine.py": INHERITED, "notes.py": "2"}), first)


def test_a_model_without_an_answer_cannot_be_told_again(look: Look):
    refuses = "from base import Plain\nclass Mine(Plain):\n    def embed(self, *_): raise KeyError"
    found = look(**{"mine.py": refuses})
    assert set(found.probes) == {None}
    assert not found.can_be_told_again
    some = INHERITED + "    def vector(self, letter): return [float('ACDEF'.index(letter)), 1.0]\n"
    assert not look(**{"mine.py": some}).can_be_told_again
    twenty = some.replace("ACDEF", PROBES[0])
    found = look(**{"mine.py": twenty})
    assert found.can_be_told_again
    assert None in found.probes, "it refuses X"


def test_a_model_that_answers_otherwise_each_time_is_never_the_same(look: Look):
    source = "import numpy as np\n" + INHERITED
    source += "    def vector(self, letter): return np.random.default_rng().normal(size=2)\n"
    assert not same(look(**{"mine.py": source}), look(**{"mine.py": source}))


def test_an_object_that_cannot_be_looked_at_does_no_harm(look: Any):
    class Touchy:
        __slots__ = ("inside",)

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

        def __reduce_ex__(self, protocol: Any) -> Any:
            raise RuntimeError

    model = look.load(**{"mine.py": INHERITED})
    model.touchy = Touchy()
    model.self = model
    first = with_evidence(model).rests_on
    assert first.can_be_told_again
    model.scale = 3.0
    assert with_evidence(model).rests_on.digest != first.digest


def test_an_identity_that_is_none_is_refused(look: Any):
    model = look.load(**{"mine.py": INHERITED})
    model.identity = {"name": "mine"}
    with pytest.raises(ModelError, match="identity is a dict"):
        with_evidence(model)


def test_ours_are_not_asked(monkeypatch: pytest.MonkeyPatch):
    model = load_model("onehot")
    monkeypatch.setattr(type(model), "embed", lambda *_: pytest.fail("asked"))
    assert with_evidence(model) == model.identity
    assert model.identity.rests_on is None


@pytest.mark.parametrize(("relative", "agrees"), [(0.05, True), (0.9, True), (20.0, False)])
def test_answers_agree_within_the_tolerance(relative: float, agrees: bool):
    vector = [5.0, 3.0, -1.0, 2.0]
    other = [number + relative * TOLERANCE * 5.0 for number in vector]
    assert agree(vector, other) is agrees
    assert not agree(vector, vector[:3])
    assert not agree(vector, [5.0, 3.0, -1.0, None])
    assert not agree([], [])


def test_the_projections_see_a_change_of_one_number(look: Any):
    """Signs are fixed and the length counts: any one entry moves every sum by itself."""
    model = look.load(**{"mine.py": INHERITED})
    first = with_evidence(model).rests_on.probes
    length, *sums = first[:4]
    rows = np.array([[ord(letter), 1.0] for letter in PROBES[0]])
    assert length == pytest.approx(np.linalg.norm(rows))
    assert all(abs(total) <= np.abs(rows).sum() for total in sums)
    assert len({round(total, 6) for total in sums}) == 3


def test_the_same_from_another_folder_and_process(look: Any, tmp_path: Path):
    import json
    import subprocess

    first = look(**{"mine.py": INHERITED})
    code = (
        "import json\nfrom tape_bench import load_model\n"
        "from tape_bench.models.evidence import with_evidence\n"
        "e = with_evidence(load_model('python:mine:Mine')).rests_on\n"
        "print(json.dumps([e.digest, e.probes]))"
    )
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("mine.py", "base.py"):
        (moved / name).write_text((tmp_path / name).read_text())
    path = os.pathsep.join([str(moved), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, cwd=moved
    )
    assert json.loads(done.stdout) == [first.digest, list(first.probes)]
