"""Cards and baseline tables: the shipped ones hang together, broken ones say everything at once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from tape_bench import registry
from tape_bench.cards import TaskCard, read_baseline, read_task
from tape_bench.errors import CardError
from tape_bench.scoring.metrics import find

CARD = """
name = "solubility"
version = "1"
title = "Solubility"
summary = "Whether a protein is soluble."
kind = "sequence_class"
head = "linear"
pool = "mean"
headline = "test"
primary = "soluble.accuracy.top1"

[length]
policy = "truncate"
longest = 1000

[source]
folder = "solubility"
licence = "CC0"

[[targets]]
name = "soluble"
field = "soluble"
classes = 2

[splits]
train = { role = "train", records = 10 }
valid = { role = "valid", records = 5 }
test = { role = "test", records = 5 }

[[metrics]]
id = "soluble.accuracy.top1"
label = "accuracy"
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "card.toml"
        path.write_text(text)
        return path

    return write


# Record counts of TAPE's own files; stability as counted in the file, not as papers quote it.
COUNTS = {
    "secondary_structure": [8678, 2170, 513, 115, 21],
    "contact": [25299, 224, 40],
    "remote_homology": [12312, 736, 718, 1254, 1272],
    "fluorescence": [21446, 5362, 27217],
    "stability": [53614, 2512, 12851],
}


def test_there_are_tapes_five_tasks_in_the_order_of_tables():
    assert registry.task_names() == list(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_a_shipped_card_is_whole(name: str):
    card = registry.task(name)
    assert [split.records for split in card.splits.values()] == COUNTS[name]
    for metric in card.metrics:
        assert find(metric.definition, card.kind).sentence
    keys = re.findall(r"@\w+\{(\w+),", registry.citations().read_text())
    assert set(card.citations) <= set(keys)
    assert all(url.endswith(f"/{card.source.folder}.tar.gz") for url in card.source.urls)


PUBLISHED = {
    ("ProteinLM-3B", "contact"): 0.75,
    ("ProteinLM-3B", "remote_homology"): 0.30,
    ("ProteinLM-3B", "secondary_structure"): 0.79,
    ("ProteinLM-3B", "fluorescence"): 0.68,
    ("ProteinLM-3B", "stability"): 0.79,
    ("Transformer", "contact"): 0.36,
    ("Transformer", "remote_homology"): 0.21,
    ("Transformer", "secondary_structure"): 0.73,
    ("Transformer", "fluorescence"): 0.68,
    ("Transformer", "stability"): 0.73,
    ("One Hot", "secondary_structure"): 0.69,
}


def test_the_baselines_hold_the_published_figures():
    scores = {
        (row.model, task): value
        for table in registry.baselines()
        for row in table.rows
        for task, value in row.scores.items()
    }
    assert {key: scores[key] for key in PUBLISHED} == PUBLISHED


def test_every_published_figure_says_how_it_was_measured():
    keys = re.findall(r"@\w+\{(\w+),", registry.citations().read_text())
    for table in registry.baselines():
        assert table.citation in keys
        own = [item for row in table.rows for item in row.measured.items()]
        for key, measured in (*table.measured.items(), *own):
            card = registry.task(measured.task or key)
            assert measured.split in card.splits or not measured.comparable
            assert measured.protocol in ("finetune", "frozen", "zero_shot")
            assert measured.moved in ("all", "LoRA", "head", "nothing")
            if measured.comparable:
                assert measured.metric in [metric.id for metric in card.metrics]
            else:
                assert len(measured.reason) > 40


def test_published_figures_have_no_more_decimals_than_they_are_said_to():
    for table in registry.baselines():
        for row in table.rows:
            for key, value in row.scores.items():
                assert value == round(value, table.measurement(row, key).decimals), row.model


def test_no_published_contact_figure_is_called_comparable():
    measured = [
        table.measurement(row, key)
        for table in registry.baselines()
        for row in table.rows
        for key in row.scores
        if (table.measurement(row, key).task or key) == "contact"
    ]
    assert measured
    assert not any(one.comparable for one in measured)


def test_a_card_of_ones_own_is_read(write):
    card = read_task(write(CARD))
    assert isinstance(card, TaskCard)
    assert (card.kind, card.split_of("valid"), card.target("soluble").classes) == (
        "sequence_class",
        "valid",
        2,
    )


def test_layout_and_comments_do_not_change_the_digest(write):
    first = read_task(write(CARD)).digest
    assert read_task(write("# a comment\n" + CARD.replace(" = ", "   =  "))).digest == first
    assert read_task(write(CARD.replace("classes = 2", "classes = 3"))).digest != first


def test_all_faults_of_a_card_are_listed_at_once(write):
    broken = (
        CARD.replace('kind = "sequence_class"', 'kind = "sequence_klass"')
        .replace("records = 10", "records = -1")
        .replace('policy = "truncate"', 'policy = "chop"')
        .replace('licence = "CC0"', 'licence = "CC0"\nsurprise = 1')
    )
    with pytest.raises(CardError) as caught:
        read_task(write(broken))
    message = str(caught.value)
    assert "4 faults" in message
    for place in ("kind", "splits.train.records", "length.policy", "source.surprise"):
        assert place in message
    assert "card.toml" in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('headline = "test"', 'headline = "train"'), "not a test split"),
        (('primary = "soluble', 'primary = "other'), "not among the metrics"),
        (('id = "soluble.accuracy.top1"', 'id = "melting.accuracy.top1"'), "is no target"),
        (("classes = 2", ""), "needs classes"),
        (('pool = "mean"', 'pool = "residues"'), "one vector a protein"),
        (('role = "valid"', 'role = "train"'), "may have one split of role train, has 2"),
        (("[splits]", "[splits"), "not valid TOML"),
        (('version = "1"', "version = 1"), "version"),
        (
            ("[source]", '[cluster]\nfield = "parent"\nrule = "[A-Z]+"\n[source]'),
            "exactly one group",
        ),
        (
            ("[source]", '[cluster]\nfield = "parent"\nrule = "("\n[source]'),
            "no regular expression",
        ),
    ],
)
def test_what_does_not_hang_together_is_said(write, change: tuple[str, str], says: str):
    assert change[0] in CARD
    with pytest.raises(CardError, match=says):
        read_task(write(CARD.replace(*change)))


def test_a_card_that_is_no_text_is_refused(tmp_path: Path):
    path = tmp_path / "card.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CardError, match="not UTF-8"):
        read_task(path)
    with pytest.raises(CardError, match="cannot read"):
        read_task(tmp_path / "none.toml")


def test_all_faults_of_a_baseline_table_are_listed(write):
    table = """
    name = "x"
    title = "X"
    citation = "rao2019tape"
    source = "a paper"
    [measured.contact]
    metric = "contact.x"
    protocol = "finetune"
    split = "test"
    comparable = false
    [[rows]]
    model = "M"
    scores = { stability = "high" }
    """
    with pytest.raises(CardError) as caught:
        read_baseline(write(table))
    assert "needs a reason" in str(caught.value)
    assert "rows.0.scores.stability" in str(caught.value)


def test_a_figure_nobody_explains_is_a_fault(write):
    table = """
    name = "x"
    title = "X"
    citation = "rao2019tape"
    source = "a paper"
    measured = {}
    [[rows]]
    model = "M"
    scores = { stability = 0.5 }
    """
    with pytest.raises(CardError, match=r"measured\.stability.* is missing"):
        read_baseline(write(table))


ROW_OF_ITS_OWN = """
name = "x"
title = "X"
citation = "rao2019tape"
source = "a paper"
measured = {}
[[rows]]
model = "M"
scores = { FIGURE = 0.5 }
[rows.measured.contact]
metric = "contact.x"
protocol = "finetune"
split = "test"
comparable = false
reason = "in batches"
"""


def test_a_row_may_say_for_itself_how_it_was_measured(write):
    table = read_baseline(write(ROW_OF_ITS_OWN.replace("FIGURE", "contact")))

    assert table.measurement(table.rows[0], "contact").metric == "contact.x"


def test_a_measurement_without_a_figure_is_a_fault(write):
    with pytest.raises(CardError, match=r"rows\.measured\.contact.* without a score"):
        read_baseline(write(ROW_OF_ITS_OWN.replace("FIGURE", "stability")))


@pytest.mark.parametrize("name", ["/some/where/X", "../x", "a/b", "", "x" * 200, "a\x1b[2J"])
@pytest.mark.parametrize("what", ["target", "split"])
def test_names_lead_nowhere(name: str, what: str) -> None:
    """Files are named after targets and splits."""
    valid_card = tomllib.loads(CARD)
    if what == "target":
        valid_card["targets"][0]["name"] = name
        valid_card["primary"] = f"{name}.x"
        valid_card["metrics"] = [{"id": f"{name}.x", "label": "x"}]
    else:
        valid_card["splits"][name] = {"role": "test", "records": 1}
    with pytest.raises(ValidationError):
        TaskCard.model_validate(valid_card)


def test_no_text_of_a_card_steers_a_terminal() -> None:
    with pytest.raises(ValidationError, match="control characters"):
        TaskCard.model_validate(tomllib.loads(CARD) | {"title": "\x1b[2J"})


@pytest.mark.parametrize("content", ["a = " + "[" * 100_000, "a = " + "1" * 5000])
def test_toml_of_no_bounds_is_a_fault_of_the_card(tmp_path: Path, content: str) -> None:
    path = tmp_path / "card.toml"
    path.write_text(content)
    with pytest.raises(CardError, match="not valid TOML"):
        read_task(path)
