"""A protocol is one folder and a registry line: the one CONTRIBUTING shows trains nothing."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from tape_bench import evaluate, load_model, registry
from tape_bench.cards import TaskCard, read_task
from tape_bench.cli import program
from tape_bench.data.examples import load_task
from tape_bench.data.vocabulary import Vocabulary
from tape_bench.errors import CardError, DataError, TasksFailedError, UsageError
from tape_bench.models.embedder import Identity, MaskedLanguageModel, PackedEmbedder
from tape_bench.models.evidence import PROBES
from tape_bench.protocols import load_protocol, option_names
from tape_bench.protocols.interface import EvaluationProtocol, check_model
from tape_bench.protocols.probe.plan import Probe
from tape_bench.report.leaderboard.build import build_leaderboard
from tape_bench.results.predictions import read_predictions
from tape_bench.results.record import RunRecord
from tape_bench.run.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

CARD = """
name = "alanines"
version = "1"
title = "Alanines"
summary = "How many alanines a protein has."
kind = "sequence_value"
head = "linear"
pool = "mean"
headline = "test"
primary = "count.spearman"

[length]
policy = "error"

[source]
folder = "alanines"
licence = "CC0"

[[targets]]
name = "count"
field = "count"

[splits]
test = { role = "test", records = 4 }

[[metrics]]
id = "count.spearman"
label = "rho"
"""

SEQUENCES = {"ACDEFG": 1, "AAAEFG": 3, "CDEFGH": 0, "AADEFG": 2}


class PrefersAlanine:
    """A masked language model to which alanine is e times as likely as any other residue."""

    identity = Identity(
        spec="prefers-alanine", name="prefers-alanine", revision="1", weights_digest=None,
        parameters=0, hidden_size=1, longest_input=None, pretraining=(),
    )  # fmt: skip
    vocabulary = Vocabulary("toy", ("<pad>", *"ACDEFGHIKLMNPQRSTVWY"), 0, 0, 0, 0)

    def embed(self, sequences: Any, pool: str = "residues") -> list[Any]:
        assert set(sequences) <= set(PROBES), "whoever scores likelihoods needs no representation"
        rows = [np.ones((len(sequence), 1), np.float32) for sequence in sequences]
        return rows if pool == "residues" else [row[0] for row in rows]

    def token_logits(self, token_ids: Any) -> list[Any]:
        row = np.zeros(len(self.vocabulary.tokens), np.float32)
        row[self.vocabulary.encode("A")] = 1.0
        return [np.tile(row, (len(ids), 1)) for ids in token_ids]


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "alanines.toml"
    path.write_text(CARD)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "alanines"
    folder.mkdir(parents=True)
    rows = "\n".join(f"p{i},{s},{n}" for i, (s, n) in enumerate(SEQUENCES.items()))
    (folder / "alanines_test.csv").write_text(f"id,sequence,count\n{rows}\n")
    return folder.parent


@pytest.fixture
def likelihood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that CONTRIBUTING shows, and its line in the registry."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    shown = re.search(r"```python\n(# tape_bench/protocols/\S+\n.*?)```", text, flags=re.DOTALL)
    line = re.search(r'```python\n"(\w+)": "tape_bench\.protocols\.(\S+)",\n```', text)
    assert shown
    assert line
    folder = tmp_path / "package" / "likelihood"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "plan.py").write_text(shown[1])
    monkeypatch.syspath_prepend(folder.parent)
    importlib.invalidate_caches()
    monkeypatch.setitem(registry.PROTOCOLS, line[1], line[2])


@pytest.fixture
def record(likelihood: None, card: Path, data: Path, tmp_path: Path) -> RunRecord:
    (record,) = evaluate(
        PrefersAlanine(), str(card), protocol="likelihood", data=data, out=tmp_path / "results"
    )
    return record


def test_a_protocol_without_training_needs_no_train_split(record: RunRecord, tmp_path: Path):
    assert record.status == "complete"
    assert set(record.task.data.splits) == {"test"}
    assert (record.protocol.id, record.protocol.version) == ("likelihood", "1")
    assert record.protocol.given == {"mean": None, "seeds": None, "length_policy": None}
    assert record.protocol.resolved["mean"] is False
    assert (record.protocol.seeds, record.protocol.seed_matters) == ([0], False)
    assert record.leakage == {}, "nothing was trained, so nothing can have leaked from training"
    assert [(m.id, m.split, m.value) for m in record.metrics] == [
        # The more alanines, the likelier.
        ("count.spearman", "test", pytest.approx(1.0))
    ]
    (path,) = (tmp_path / "results").rglob("*.predictions.npz")
    found = read_predictions(path, "sequence_value")["count", "test"][0]
    # log p is 1 - log(e + 20) of an alanine, and -log(e + 20) of any other of the vocabulary.
    by_hand = [count - 6 * np.log(np.e + 20) for count in SEQUENCES.values()]
    np.testing.assert_allclose(found.values, by_hand, rtol=1e-6)


def test_its_record_is_used_again_and_stands_in_a_leaderboard(
    record: RunRecord, card: Path, data: Path, tmp_path: Path
):
    again = evaluate(
        PrefersAlanine(), str(card), protocol="likelihood", data=data, out=tmp_path / "results"
    )
    assert again == [record]
    built = build_leaderboard([record], [], {"alanines": read_task(card)})
    (section,) = built.sections
    (group,) = section.groups
    (row,) = group.rows
    assert (row.model, row.protocol) == ("prefers-alanine", "likelihood")
    assert row.cells[0].value == pytest.approx(1.0)


def test_its_options_are_settings_and_in_the_run_key(
    record: RunRecord, card: Path, data: Path, tmp_path: Path
):
    asked: dict[str, Any] = {"protocol": "likelihood", "data": data, "out": tmp_path / "results"}
    (mean,) = evaluate(PrefersAlanine(), str(card), mean=True, **asked)
    assert mean.run_key != record.run_key
    assert mean.protocol.given["mean"] is True
    with pytest.raises(UsageError, match="did you mean mean"):
        evaluate(PrefersAlanine(), str(card), meen=True, **asked)
    with pytest.raises(UsageError, match="mean is given as 3"):
        evaluate(PrefersAlanine(), str(card), mean=3, **asked)
    with pytest.raises(UsageError, match="no setting named 'head'"):
        evaluate(PrefersAlanine(), str(card), head="linear", **asked)


def test_a_model_that_lacks_what_is_required_is_refused_before_any_work(
    likelihood: None, card: Path, data: Path, tmp_path: Path
):
    model = load_model("onehot")
    with pytest.raises(UsageError, match="cannot score onehot") as caught:
        evaluate(model, str(card), protocol="likelihood", data=data, out=tmp_path / "results")
    assert "it lacks token_logits and vocabulary" in str(caught.value)
    assert "adapter tape_bench.models.controls.onehot." in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_the_command_line_refuses_it_too_and_takes_one_that_can(
    likelihood: None, card: Path, data: Path, tmp_path: Path
):
    asked = ["-t", str(card), "--data", str(data), "--out", str(tmp_path / "out")]
    for more in ([], ["--dry-run"]):
        with pytest.raises(UsageError, match="cannot score onehot"):
            CliRunner().invoke(
                program,
                ["run", "onehot", "--protocol", "likelihood", *asked, *more],
                catch_exceptions=False,
            )
    mine = tmp_path / "mine.py"
    mine.write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_interface import PrefersAlanine as Mine\n"
    )
    told = CliRunner().invoke(
        program,
        ["run", f"python:{mine}:Mine", "--protocol", "likelihood", *asked],
        catch_exceptions=False,
    )
    assert told.exit_code == 0, told.output
    assert "likelihood" in told.output
    assert "1.000" in told.output


def test_a_card_without_a_split_that_is_read_says_which_protocol_needs_it(
    card: Path, data: Path, tmp_path: Path
):
    with pytest.raises(TasksFailedError, match="probe reads a train split") as caught:
        evaluate("onehot", str(card), data=data, out=tmp_path / "results")
    assert isinstance(caught.value.__cause__, UsageError)
    assert "the card of alanines has none" in str(caught.value)
    with pytest.raises(CardError, match="alanines has no split of role train"):
        read_task(card).split_of("train")


def test_only_tasks_of_a_kind_that_the_protocol_scores_are_run(likelihood: None, tmp_path: Path):
    asked: dict[str, Any] = {"protocol": "likelihood", "data": "sample", "limit": 20}
    records = evaluate(PrefersAlanine(), **asked, out=tmp_path)
    assert [record.task.id for record in records] == ["fluorescence", "stability"]
    # It leaves the training split alone, though the data have one.
    assert set(records[1].task.data.splits) == {"test"}
    with pytest.raises(TasksFailedError, match="likelihood cannot score contact"):
        evaluate(PrefersAlanine(), "contact", **asked, out=tmp_path)


def test_files_of_splits_that_are_not_read_may_be_absent(card: Path, data: Path):
    whole = replace_splits(read_task(card), train=("train", 8), test=("test", 4))
    assert set(load_task(whole, data, roles=("test",))) == {"test"}
    with pytest.raises(DataError, match="the split train of the task alanines is missing"):
        load_task(whole, data)


def replace_splits(card: TaskCard, **splits: tuple[str, int]) -> TaskCard:
    declared = {n: {"role": role, "records": count} for n, (role, count) in splits.items()}
    return TaskCard.model_validate(card.model_dump() | {"splits": declared})


def test_every_protocol_of_the_registry_is_one_and_its_options_are_no_other_settings():
    for name in registry.PROTOCOLS:
        assert isinstance(load_protocol(name), EvaluationProtocol)
        assert not set(option_names(name)) & set(Settings.model_fields)
    assert load_protocol("probe", {"head": "tape"}) == Probe("tape")
    assert Settings.of({"head": "tape"}).options == {"head": "tape"}


def test_what_is_no_protocol_is_not_loaded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(registry.PROTOCOLS, "odd", "collections:OrderedDict")
    with pytest.raises(UsageError, match="names for the protocol odd is none"):
        load_protocol("odd")
    with pytest.raises(UsageError, match="odd has no option 'head'"):
        load_protocol("odd", {"head": "linear"})


def test_what_is_lacking_counts_what_a_promise_inherits():
    @dataclass(frozen=True)
    class Fast(Probe):
        requires: ClassVar[Any] = (PackedEmbedder,)

    class Empty:
        pass

    identity = replace(PrefersAlanine.identity, name="empty")
    with pytest.raises(UsageError) as caught:
        check_model("fast", Fast(), Empty(), identity)
    for member in ("embed", "embed_packed", "identity", "special_tokens", "tokens_per_launch"):
        assert member in str(caught.value)
    assert isinstance(PrefersAlanine(), MaskedLanguageModel)
