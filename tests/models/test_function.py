"""A function of the user's as a model: what it gives is found out, what it does wrong is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tape_bench import Identity, evaluate, load_model, registry
from tape_bench.errors import ModelError, TasksFailedError, UsageError
from tape_bench.models.evidence import with_evidence
from tape_bench.models.function import from_function

TRIAL: dict[str, Any] = {"data": "sample", "limit": 40}
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def rows(sequences: list[str]) -> list[np.ndarray]:
    return [np.eye(26)[[ord(letter) - 65 for letter in sequence]] for sequence in sequences]


def test_rows_of_residues_serve_every_task():
    model = from_function(rows)
    assert (model.identity.name, model.identity.hidden_size) == ("rows", 26)
    assert model.identity.kinds is None
    np.testing.assert_array_equal(model.embed(["CA"])[0], np.eye(26)[[2, 0]])
    np.testing.assert_array_equal(model.embed(["CA"], "mean")[0], np.eye(26)[[2, 0]].mean(0))
    with pytest.raises(ModelError, match="no first token"):
        model.embed(["CA"], "first")


@pytest.mark.parametrize(
    "function",
    [
        lambda sequences: np.array([[len(s), s.count("A")] for s in sequences]),
        lambda sequences: [[len(s), s.count("A")] for s in sequences],
        lambda sequences: torch.tensor(
            [[len(s), s.count("A")] for s in sequences], dtype=torch.float32, requires_grad=True
        ),
    ],
    ids=["numpy", "lists", "torch"],
)
def test_one_vector_a_sequence_serves_tasks_of_sequences(function):
    model = from_function(function, "mine")
    assert model.identity.kinds == ("sequence_class", "sequence_value")
    assert model.embed(["AAC"], "mean")[0].tolist() == [3, 2]
    with pytest.raises(ModelError, match="one vector a sequence"):
        model.embed(["AAC"])


def test_a_lambda_is_evaluated(tmp_path: Path):
    (record,) = evaluate(
        lambda sequences: np.array([[s.count(a) for a in LETTERS] for s in sequences]),
        "stability", name="counts", out=tmp_path, **TRIAL,
    )  # fmt: skip
    assert record.status == "complete"
    assert (record.model.name, record.model.hidden_size) == ("counts", 20)


def test_a_function_in_a_file_is_evaluated(tmp_path: Path):
    (tmp_path / "random.py").write_text("def wide(n):\n    return 2 * n\n")  # a neighbour's name
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nimport helper\n\n"
        "def embed(sequences):\n"
        "    print('noise on standard output')\n"
        "    return [np.ones((len(s), helper.WIDTH)) for s in sequences]\n"
    )
    (tmp_path / "helper.py").write_text("WIDTH = 3\n")
    model = load_model(f"python:{tmp_path / 'mine.py'}:embed")
    assert (model.identity.name, model.identity.hidden_size) == ("embed", 3)


def test_an_edited_function_is_another_model():
    def made(factor: int):
        def function(sequences):
            return [np.full((len(s), 2), factor) for s in sequences]

        return with_evidence(from_function(function, "mine")).rests_on

    one, same, other = made(2), made(2), made(3)
    assert one is not None
    assert other is not None
    assert one == same
    assert one.code != other.code


@pytest.mark.parametrize(
    ("function", "fault"),
    [
        (lambda sequences: [np.zeros(3)], "1 answers to 2"),
        (lambda sequences: [np.zeros((len(s) + 2, 4)) for s in sequences], "special tokens"),
        (lambda sequences: np.zeros(len(sequences)), "shapes"),
        (lambda sequences: 1 / 0, "ZeroDivisionError"),
        (lambda sequences: ["text" for _ in sequences], "ValueError"),
        (lambda sequences: None, "TypeError"),
    ],
)
def test_functions_that_give_no_representations(function, fault: str):
    with pytest.raises(ModelError, match=fault):
        _ = from_function(function, "mine").identity


def test_a_function_that_fails_later_fails_its_task_alone(tmp_path: Path):
    def picky(sequences):
        if any(len(s) > 60 for s in sequences):
            raise KeyError("too long for me")
        return [np.ones((len(s), 3)) for s in sequences]

    with pytest.raises(TasksFailedError, match="the function raised KeyError"):
        evaluate(picky, ["fluorescence", "stability"], out=tmp_path, **TRIAL)
    from tape_bench import load_records

    states = {filed.record.task.id: filed.record.status for filed in load_records(tmp_path)}
    assert states["stability"] == "complete"
    assert states.get("fluorescence") != "started"


def test_what_is_no_function_of_sequences(tmp_path: Path):
    with pytest.raises(UsageError, match="a lambda has no name"):
        evaluate(lambda sequences: sequences, "stability", out=tmp_path, **TRIAL)
    with pytest.raises(UsageError, match="only a function is given a name"):
        evaluate("onehot", "stability", name="mine", out=tmp_path, **TRIAL)
    with pytest.raises(UsageError, match="list of sequences alone"):
        from_function(lambda: None, "mine")  # type: ignore[arg-type]


def test_text_as_a_data_set_is_one_data_set():
    about: dict[str, Any] = {
        "spec": "x", "name": "x", "revision": "1", "weights_digest": None, "parameters": 0,
        "hidden_size": 1, "longest_input": None,
    }  # fmt: skip
    assert Identity(**about, pretraining="UniRef50").pretraining == ("UniRef50",)
    assert Identity(**about, pretraining=["BFD", "Pfam"]).pretraining == ("BFD", "Pfam")
    assert Identity(**about, pretraining=()).pretraining == ()
    assert Identity(**about, pretraining=None).pretraining is None


def test_an_installed_package_brings_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    card = registry._builtin_tasks()["stability"].read_text("utf-8")
    (tmp_path / "solubility.toml").write_text(
        card.replace('name = "stability"', 'name = "soluble"')
    )
    info = tmp_path / "with_tasks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: with-tasks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[tape_bench.tasks]\nsoluble = with_tasks:CARD\n")
    (tmp_path / "with_tasks.py").write_text(
        "from pathlib import Path\nCARD = Path(__file__).with_name('solubility.toml')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    registry._tasks.cache_clear()
    try:
        assert registry.task_names()[-1] == "soluble"
        assert registry.task("soluble").name == "soluble"
    finally:
        registry._tasks.cache_clear()
