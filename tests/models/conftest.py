"""TAPE checkpoints to test with: tiny, random, under the names TAPE's own code writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch


class TapeCheckpoint:
    """How TAPE saves its transformer, written down from its file format."""

    CONFIG: ClassVar[dict] = {
        "vocab_size": 30,
        "hidden_size": 24,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 34,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
    }

    def weights(self, masked_head: bool = True, prefix: str = "bert.", seed: int = 0) -> dict:
        """Random tensors under TAPE's names, as its `save_pretrained` writes them."""
        random = np.random.default_rng(seed)
        h, f, v = (
            self.CONFIG["hidden_size"],
            self.CONFIG["intermediate_size"],
            self.CONFIG["vocab_size"],
        )

        def dense(name: str, out: int, into: int) -> dict:
            return {
                f"{name}.weight": random.normal(0, 0.2, (out, into)),
                f"{name}.bias": noise(out),
            }

        def norm(name: str) -> dict:
            return {f"{name}.weight": 1 + noise(h), f"{name}.bias": noise(h)}

        def noise(*shape: int) -> np.ndarray:
            return random.normal(0, 0.3, shape)

        found = {
            "embeddings.word_embeddings.weight": noise(v, h),
            "embeddings.position_embeddings.weight": noise(
                self.CONFIG["max_position_embeddings"], h
            ),
            "embeddings.token_type_embeddings.weight": noise(self.CONFIG["type_vocab_size"], h),
            **norm("embeddings.LayerNorm"),
            **dense("pooler.dense", h, h),
        }
        for number in range(self.CONFIG["num_hidden_layers"]):
            layer = f"encoder.layer.{number}"
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                found |= dense(f"{layer}.attention.{part}", h, h)
            found |= norm(f"{layer}.attention.output.LayerNorm")
            found |= dense(f"{layer}.intermediate.dense", f, h)
            found |= dense(f"{layer}.output.dense", h, f)
            found |= norm(f"{layer}.output.LayerNorm")
        found = {prefix + name: array for name, array in found.items()}
        if masked_head:
            found |= dense("mlm.transform.dense", h, h) | norm("mlm.transform.LayerNorm")
            found["mlm.bias"] = noise(v)
            found["mlm.decoder.weight"] = found[f"{prefix}embeddings.word_embeddings.weight"]
        return found

    def write(
        self, folder: Path, arrays: dict, config: dict | None = None, **settings: object
    ) -> str:
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(
            json.dumps((config or self.CONFIG) | {"finetuning_task": None})
        )
        tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}
        torch.save(tensors, folder / "pytorch_model.bin", **settings)
        return str(folder)


@pytest.fixture(scope="session")
def tape_files() -> TapeCheckpoint:
    return TapeCheckpoint()


@pytest.fixture
def tape_folder(tape_files: TapeCheckpoint, tmp_path: Path) -> str:
    """A checkpoint with a masked-language-model head."""
    return tape_files.write(tmp_path / "bert", tape_files.weights())
