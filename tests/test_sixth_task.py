"""A sixth task needs a card and nothing else: the one CONTRIBUTING shows, on CSV files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tape_bench import evaluate
from tape_bench.cli import program

ROOT = Path(__file__).resolve().parents[1]
RESIDUES = np.array(list("ACDEFGHIKLMNPQRSTVWY"))


@pytest.fixture
def card(tmp_path: Path) -> Path:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    shown = re.search(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    assert shown
    path = tmp_path / "solubility.toml"
    path.write_text(shown[1])
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Proteins that are soluble exactly when they hold more charged than greasy residues."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "data" / "solubility"
    folder.mkdir(parents=True)
    for split, count in (("train", 400), ("valid", 100), ("test", 100)):
        lines = ["id,sequence,soluble"]
        for index in range(count):
            sequence = "".join(generator.choice(RESIDUES, 60))
            charged = sum(sequence.count(letter) for letter in "DEKR")
            greasy = sum(sequence.count(letter) for letter in "FILVW")
            lines.append(f"{split}{index},{sequence},{int(charged > greasy)}")
        (folder / f"solubility_{split}.csv").write_text("\n".join(lines) + "\n")
    return folder.parent


def test_the_card_in_contributing_runs(card: Path, data: Path, tmp_path: Path):
    (record,) = evaluate("onehot", str(card), data=data, out=tmp_path / "results")
    headline = record.headline
    assert headline is not None
    assert headline.value is not None
    # The rule is linear in composition, which is what the mean of one-hot residues is.
    assert headline.value > 0.85
    assert record.task.data.status == "partial"


def test_the_command_line_runs_it_and_shows_its_table(card: Path, data: Path, tmp_path: Path):
    asked = ["-t", str(card), "--data", str(data), "--out", str(tmp_path / "results")]
    told = CliRunner().invoke(program, ["run", "onehot", *asked], catch_exceptions=False)
    assert told.exit_code == 0, told.output
    assert "Solubility" in told.output
