"""Names lead to things, near misses to suggestions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tape_bench import registry
from tape_bench.errors import ModelError, UsageError
from tape_bench.models import load_model
from tape_bench.models.embedder import Embedder

OWN_MODEL = """
import numpy as np
from tape_bench.models.embedder import Identity

class Alternating:
    identity = Identity(
        spec="python", name="alternating", revision="1", weights_digest=None, parameters=0,
        hidden_size=2, longest_input=None, pretraining=(),
    )

    def embed(self, sequences, pool="residues"):
        rows = [np.eye(2, dtype=np.float32)[np.arange(len(s)) % 2] for s in sequences]
        return rows if pool == "residues" else [row.mean(0) for row in rows]
"""


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(UsageError, match="did you mean stability"):
        registry.task("stabilty")
    with pytest.raises(UsageError, match="did you mean onehot"):
        load_model("one-hot")
    with pytest.raises(UsageError, match="did you mean probe"):
        registry.protocol("prob")


@pytest.mark.parametrize("name", ["contact_prediction", "proteinnet"])
def test_tapes_own_names_of_tasks_are_known(name: str):
    assert registry.task(name).name == "contact"


def test_every_task_of_tapes_code_has_a_card():
    import tape.datasets  # noqa: F401  # registers them
    from tape.registry import registry as theirs

    supervised = set(theirs.task_name_mapping) - {
        "embed", "masked_language_modeling", "language_modeling", "trrosetta"
    }  # fmt: skip
    assert {registry.task(name).name for name in supervised} == set(registry.task_names())


def test_every_listed_model_family_has_a_loader():
    for family in registry.MODELS:
        loader, argument = registry.model_loader(f"{family}:some/path:with-colon")
        assert callable(loader)
        assert argument == "some/path:with-colon"


def test_an_option_the_model_lacks_is_refused():
    with pytest.raises(UsageError, match="no option 'layer'"):
        load_model("onehot", layer=3)


def test_a_model_is_one_class(tmp_path: Path):
    path = tmp_path / "mine.py"
    path.write_text(OWN_MODEL)
    model = load_model(f"python:{path}:Alternating")
    assert isinstance(model, Embedder)
    assert model.embed(["ACD"])[0].tolist() == [[1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("argument", ["", ":mine.py", ":gone.py:Model", ":os.path:Model"])
def test_a_class_that_is_not_there_is_an_error(argument: str):
    with pytest.raises(ModelError):
        load_model("python" + argument)


def test_a_class_that_is_no_model_is_refused(tmp_path: Path):
    path = tmp_path / "other.py"
    path.write_text("class Other:\n    pass\n")
    with pytest.raises(ModelError, match="lacks `identity` or `embed`"):
        load_model(f"python:{path}:Other")
