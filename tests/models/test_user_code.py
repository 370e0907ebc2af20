"""What a user's own code does wrong becomes one error that names the model and the line."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tape_bench import evaluate
from tape_bench.data.vocabulary import TAPE_IUPAC
from tape_bench.embedding.forward import Entry, Forward
from tape_bench.embedding.perplexity import masked_loss
from tape_bench.errors import ModelError, TasksFailedError
from tape_bench.models import load_model
from tape_bench.results import store

GOOD = """\
import numpy as np
from tape_bench.models.embedder import Identity

class Good:
    identity = Identity(spec="python", name="mine", revision="1", weights_digest=None,
                        parameters=1, hidden_size=2, longest_input=None, pretraining=None)

    def embed(self, sequences, pool="residues"):
        rows = [np.ones((len(s), 2), np.float32) for s in sequences]
        return rows if pool == "residues" else [row.mean(0) for row in rows]
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "path", [*sys.path])

    def write(body: str, name: str = "mine") -> str:
        path = tmp_path / f"{name}.py"
        path.write_text(GOOD + "\n" + textwrap.dedent(body))
        return f"python:{path}:Mine"

    return write


def line_of(spec: str, words: str) -> str:
    path = spec.split(":")[1]
    lines = Path(path).read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines, 1) if words in line)
    return f"{path}:{number},"


@pytest.mark.parametrize(
    ("body", "says", "line"),
    [
        (
            "class Mine(Good):\n    def __init__(self):\n        raise ImportError('no esm')",
            "making one.*raised ImportError: no esm",
            "no esm",
        ),
        ("import a_module_that_is_not_there", "ModuleNotFoundError", "a_module_that_is_not"),
        (
            "class Mine(Good):\n    identity = {'name': 'mine'}",
            "identity is a dict, not an Identity",
            None,
        ),
        (
            "class Mine(Good):\n    @property\n    def identity(self):\n        return 1 / 0",
            "identity raised ZeroDivisionError",
            "1 / 0",
        ),
        (
            "class Mine(Good):\n    def embed(self, sequences):\n        return []",
            r"cannot be called as embed\(sequences, pool\): too many positional",
            None,
        ),
    ],
)
def test_what_cannot_be_loaded(model, body, says, line):
    spec = model(body)
    with pytest.raises(ModelError, match=says) as caught:
        load_model(spec)
    assert "mine" in str(caught.value)
    if line:
        assert line_of(spec, line) in str(caught.value)


def test_a_file_that_is_no_python(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Mine:\n    def embed(self) return 1\n")
    with pytest.raises(ModelError, match=f"SyntaxError(.|\n)*{path}:2"):
        load_model(f"python:{path}:Mine")


def test_a_function_of_a_library_is_no_model():
    with pytest.raises(ModelError, match=r"the function raised ValueError"):
        load_model("python:numpy:array")


RAISES = """\
def lookup(letter):
    return {}[letter]

class Mine(Good):
    def embed(self, sequences, pool="residues"):
        if max(map(len, sequences)) > 60:
            return sorted(sequences, key=lookup)
        return Good.embed(self, sequences, pool)
"""


def test_a_model_that_raises_fails_its_task_and_no_other(model, tmp_path):
    spec = model(RAISES)
    with pytest.raises(TasksFailedError, match="fluorescence failed: the model mine: embed") as c:
        evaluate(spec, ["fluorescence", "stability"], data="sample", limit=40, head="linear",
                 out=tmp_path / "out")  # fmt: skip
    assert line_of(spec, "return {}[letter]") in str(c.value)
    assert "KeyError" in str(c.value)
    records = {r.task.id: r for r in map(store.read, store.find(tmp_path / "out"))}
    assert records["stability"].status == "complete"
    assert records["fluorescence"].status == "failed"


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        ("None", "a NoneType instead of a list"),
        ("[]", "0 representations for 1 sequences"),
        ("[None]", "a NoneType that is no array of numbers"),
        ("['MKV']", "a str that is no array of numbers"),
        ("[[[1.0, 2.0], [1.0], [0.0, 1.0]]]", "a list that is no array of numbers"),
        ("[np.ones((3, 2), complex)]", "a ndarray that is no array of numbers"),
        ("[__import__('torch').ones(3, 2, requires_grad=True)]", "requires grad"),
        ("[np.ones((2, 3))]", r"shape \(2, 3\) instead of \(3, 2\)"),
        ("[np.full((3, 2), np.nan)]", "values that are not finite"),
    ],
)
def test_what_is_no_representation(model, gives, says):
    spec = model(f"class Mine(Good):\n    def embed(self, s, pool='mean'):\n        return {gives}")
    with pytest.raises(ModelError, match=f"the model mine gave (.|\n)*{says}"):
        Forward(load_model(spec))([Entry("MKV")], ["residues"])


def test_errors_of_our_own_models_are_not_dressed_up(monkeypatch):
    model = load_model("onehot")
    monkeypatch.setattr(type(model), "embed", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Forward(model)([Entry("MKV")], ["residues"])


@pytest.mark.parametrize("name", ["random", "json", "base.of.mine", "no-identifier"])
def test_the_name_of_a_file_takes_nothing_away(model, name):
    before = {known: sys.modules.get(known) for known in ("random", "json")}
    made = load_model(model("class Mine(Good): pass", name))
    assert {known: sys.modules.get(known) for known in before} == before
    assert np.array_equal(made.embed(["MK"])[0], np.ones((2, 2)))
    assert sys.modules[type(made).__module__].Mine is type(made)


def test_a_file_may_import_its_neighbour(model, tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text(GOOD)
    spec = model("from neighbour_of_mine import Good as Other\nclass Mine(Other): pass")
    assert load_model(spec).identity.name == "mine"


def test_a_neighbour_hides_no_library(model, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('the wrong one')")
    spec = model("import importlib, torch\nassert torch.__path__\nclass Mine(Good): pass")
    assert load_model(spec).identity.name == "mine"


def test_an_object_is_looked_at_before_it_is_used(tmp_path):
    class Mine:
        identity = "mine"

        def embed(self, sequences, pool="residues"):
            return []

    with pytest.raises(ModelError, match="identity is a str, not an Identity"):
        evaluate(Mine(), "stability", data="sample", out=tmp_path)


def test_a_model_that_raises_while_it_guesses():
    class Guessing:
        vocabulary = TAPE_IUPAC

        def token_logits(self, token_ids):
            return token_ids[0].nonsense

    with pytest.raises(ModelError, match=r"token_logits.* raised AttributeError") as caught:
        masked_loss(Guessing(), ["MKV"], 0)
    assert __file__ in str(caught.value)
