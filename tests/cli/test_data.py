"""`tape-bench data`: fetched from a mirror, verified, listed; a broken mirror harms nothing."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tape_bench.cli import program
from tape_bench.data.examples import load_task
from tape_bench.errors import DataError, TasksFailedError, UsageError


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A folder with a small stability tarball of raw JSON."""
    folder = tmp_path / "made" / "stability"
    folder.mkdir(parents=True)
    for split, count in (("train", 6), ("valid", 3), ("test", 3)):
        records = [
            {"id": f"{split}{i}", "primary": "ACDEFGHIKL"[i:] + "MNPQ", "stability_score": [i / 4]}
            for i in range(count)
        ]
        (folder / f"stability_{split}.json").write_text(json.dumps(records))
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with tarfile.open(mirror / "stability.tar.gz", "w:gz") as archive:
        archive.add(folder, "stability")
    return mirror


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def data(*arguments: object) -> Result:
    return CliRunner().invoke(program, ["data", *map(str, arguments)], catch_exceptions=True)


def test_fetched_data_are_listed_for_what_they_are(mirror: Path, root: Path):
    fetched = data("fetch", "stability", "--mirror", mirror, "--data", root)
    assert fetched.exit_code == 0, fetched.output
    assert str(mirror) in fetched.output
    listed = json.loads(data("status", "stability", "--data", root, "--json").output)
    assert listed[0]["status"] == "other"
    assert {s["name"]: s["records"] for s in listed[0]["splits"]} == {
        "train": 6,
        "valid": 3,
        "test": 3,
    }
    assert data("verify", "stability", "--data", root).exit_code == 0
    again = data("fetch", "stability", "--mirror", mirror, "--data", root)
    assert "was there already" in again.output


def test_an_edited_file_is_found_by_verify(mirror: Path, root: Path):
    data("fetch", "stability", "--mirror", mirror, "--data", root)
    path = root / "stability" / "stability_test.json"
    path.write_text(path.read_text().replace("0.25", "0.75"))
    verified = data("verify", "stability", "--data", root)
    assert verified.exit_code == 2
    assert "stability_test.json" in verified.output


def test_a_mirror_cut_short_leaves_nothing(mirror: Path, root: Path):
    tarball = mirror / "stability.tar.gz"
    tarball.write_bytes(tarball.read_bytes()[:-40])
    # A task without addresses of its own: nothing is asked of the network.
    card = mirror / "card.toml"
    shipped = json.loads(CliRunner().invoke(program, ["tasks", "stability", "--json"]).output)
    assert shipped["source"]["urls"]
    text = Path(__file__).parents[2].joinpath("tasks", "stability.toml").read_text()
    start = text.index("urls = [")
    card.write_text(text[:start] + text[text.index("]", start) + 1 :])
    failed = data("fetch", card, "--mirror", mirror, "--data", root)
    assert isinstance(failed.exception, TasksFailedError)
    assert str(mirror) in str(failed.exception)
    assert not (root / "stability").exists()


def test_nothing_there_is_told_once_with_the_place_and_what_to_do(root: Path):
    for verb in ("status", "verify"):
        listed = data(verb, "--data", root)
        assert isinstance(listed.exception, DataError)
        assert listed.output == ""
        told = str(listed.exception)
        assert str(root) in told
        assert "tape-bench data fetch" in told
        assert told.count("stability") == 1
        assert len(told.splitlines()) == 3


def test_json_of_nothing_is_json(root: Path):
    listed = data("status", "--data", root, "--json")
    assert listed.exit_code != 0
    assert [task["status"] for task in json.loads(listed.stdout)] == [None] * 5


def test_what_one_task_lacks_is_listed_among_the_others(mirror: Path, root: Path):
    data("fetch", "stability", "--mirror", mirror, "--data", root)
    listed = data("status", "stability,contact_prediction", "--data", root)
    assert listed.exit_code == 0
    assert "contact: !: no data" in listed.output
    assert str(root) in listed.output


@pytest.mark.parametrize("verb", ["status", "verify"])
def test_the_sample_is_data_here_too(verb: str):
    listed = data(verb, "stability", "--data", "sample", "--json")
    assert listed.exit_code == 0, listed.output
    (task,) = json.loads(listed.output)
    assert (task["status"], task["source"]) == ("simulated", "sample")
    assert {s["name"]: s["records"] for s in task["splits"]} == {
        name: len(split) for name, split in load_task("stability", "sample").items()
    }


def test_the_sample_is_not_fetched():
    fetched = data("fetch", "--data", "sample")
    assert isinstance(fetched.exception, UsageError)
    assert "--data sample" in str(fetched.exception)
