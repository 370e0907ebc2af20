"""A converted checkpoint: `config.json` and safetensors in the layout of Hugging Face.

The tensors bear the names of Hugging Face's `megatron-bert`, so its `MegatronBertModel` opens the
folder and computes the same hidden states. (Its masked-language-model head bends with the layers'
GELU, where Megatron uses erf whatever the layers use: logits differ in the third decimal.)
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tape_bench import text
from tape_bench.bounded import parse_json, read_text
from tape_bench.errors import CheckpointError, ModelError
from tape_bench.models.proteinlm.config import Gelu, ProteinLMConfig
from tape_bench.models.proteinlm.mapping import VOCABULARY, Weight, weights
from tape_bench.models.proteinlm.megatron.partition import Rank, merge
from tape_bench.models.proteinlm.megatron.shard import release, shares_memory
from tape_bench.models.proteinlm.source import Origin

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
NO_TOKEN_TYPES = "bert.embeddings.token_type_embeddings.weight"
"""Hugging Face's architecture always has this table; ours is written as one row of zeros."""

_KEYS = {
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "positions": "max_position_embeddings",
    "layernorm_eps": "layer_norm_eps",
}
_OURS = ("head_gelu", "residual_after_norm", "token_types", "mlm_head")
_ACTIVATIONS: dict[Gelu, str] = {"tanh": "gelu_new", "erf": "gelu"}
_ANOTHER = "give a folder that `tape-bench convert` wrote"


def config_to_json(
    config: ProteinLMConfig, origin: Origin, dtype: torch.dtype, weights_digest: str
) -> dict[str, Any]:
    """Describe a network as Hugging Face does, with what its keys cannot say under ours."""
    architecture = "MegatronBertForMaskedLM" if config.mlm_head else "MegatronBertModel"
    return {
        # That architecture takes the residual before the norm; the other kind is ours alone.
        **(
            {"model_type": "proteinlm"}
            if config.residual_after_norm
            else {"model_type": "megatron-bert", "architectures": [architecture]}
        ),
        **{key: getattr(config, name) for name, key in _KEYS.items()},
        "intermediate_size": 4 * config.hidden,
        "hidden_act": _ACTIVATIONS[config.gelu],
        "vocab_size": VOCABULARY,
        "type_vocab_size": max(config.token_types, 1),
        "pad_token_id": 0,
        "torch_dtype": str(dtype).removeprefix("torch."),
        "proteinlm": {
            **{name: getattr(config, name) for name in _OURS},
            **asdict(origin),
            "weights_digest": weights_digest,
        },
    }


def config_from_json(path: Path) -> ProteinLMConfig:
    """Read the shape of a network from a `config.json`.

    What can only have one value may be left out, and so may the `proteinlm` part.

    Raises:
        CheckpointError: it is not there, not JSON, or describes another kind of network.
    """
    said = _read_json(path)
    ours = _part(said, path)
    if missing := [key for key in (*_KEYS.values(), "hidden_act") if key not in said]:
        what = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        raise CheckpointError(what, where=str(path), fix=_ANOTHER)
    sizes = {name: said[key] for name, key in _KEYS.items()}
    try:
        gelu = next(form for form, name in _ACTIVATIONS.items() if name == said["hidden_act"])
    except StopIteration:
        raise CheckpointError(
            f"hidden_act must be gelu_new or gelu, not {text.shown(said['hidden_act'])}",
            where=str(path),
        ) from None
    try:
        config = ProteinLMConfig(
            **sizes,
            gelu=gelu,
            **{name: ours[name] for name in _OURS if name in ours},
        )
    except ModelError as error:
        raise CheckpointError(error.what, where=str(path), fix=error.fix) from error
    only = (VOCABULARY, 4 * config.hidden)
    fixed = (said.get("vocab_size", only[0]), said.get("intermediate_size", only[1]))
    if fixed != only:
        raise CheckpointError(
            f"vocab_size must be {only[0]} and intermediate_size {only[1]}, "
            f"not {text.shown(fixed[0])} and {text.shown(fixed[1])}",
            where=str(path),
            fix=_ANOTHER,
        )
    return config


class ConvertedFolder:
    """A folder that `tape-bench convert` wrote, opened and checked; a `WeightSource`."""

    notes: tuple[str, ...] = ()
    promised_digest: str | None

    def __init__(self, path: Path) -> None:
        self._path = path
        self.config = config_from_json(path / CONFIG)
        said = _part(_read_json(path / CONFIG), path)
        if not {"revision", "checkpoint_version", "qkv_order"} <= said.keys():
            raise CheckpointError(
                "this folder was not written by `tape-bench convert`", where=str(path), fix=_ANOTHER
            )
        for name in ("revision", "checkpoint_version", "qkv_order", "weights_digest"):
            if not isinstance(said.get(name), str | None):
                raise CheckpointError(
                    f"{name} is {text.shown(said[name])}, not text", where=str(path), fix=_ANOTHER
                )
        self.promised_digest = said.get("weights_digest")
        if self.promised_digest is None:
            # Converted by a release that did not write it.
            self.notes = (
                "this folder does not say what its weights were when it was written, so damage to "
                "them cannot be seen; convert the checkpoint again",
            )
        self.origin = Origin(said["revision"], said["checkpoint_version"], said["qkv_order"])
        self.files = tuple(self._find())
        self._files = self._open()
        # What a configuration says is believed as far as there are tensors for it.
        if self.config.layers > len(self._files):
            raise CheckpointError(
                f"{self.config.layers} layers are more than there are tensors",
                where=str(path),
                fix="convert the checkpoint again",
            )
        self._weights = weights(self.config)
        self._shared: set[str] = set()
        self._check()
        self.stored_dtype = self._get("bert.encoder.ln.weight").dtype

    def check_bytes(self) -> None:
        """Nothing to read: it is the digest that shows damage; see `WeightSource`."""

    def read(
        self,
        name: str,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        keep: Rank = (0, 1),
        share: bool = False,
    ) -> Tensor:
        """Read one weight; see `WeightSource.read`."""
        weight = self._weights[name]
        kept = []
        for huggingface in weight.huggingface:
            stored = self._get(huggingface)
            part = stored
            if weight.partition == "heads":
                part = stored.view(self.config.heads, 1, self.config.head_size, *stored.shape[1:])
            kept.append(
                merge(
                    [part],
                    weight.partition,
                    name=name,
                    keep=keep,
                    dtype=dtype or stored.dtype,
                    device=device,
                    share=share and weight.partition != "heads",
                )
            )
            if shares_memory(kept[-1], stored):
                self._shared.add(name)
            if name not in self._shared:
                release(stored)
        return torch.cat(kept, dim=1).flatten(0, 2) if weight.partition == "heads" else kept[0]

    def _get(self, huggingface: str) -> Tensor:
        tensor: Tensor = self._files[huggingface].get_tensor(huggingface)
        return tensor

    def _find(self) -> list[Path]:
        if not (self._path / INDEX).is_file():
            return [self._path / SINGLE]
        listed = _read_json(self._path / INDEX).get("weight_map", {})
        named = listed.values() if isinstance(listed, dict) else ()
        files = sorted({name for name in named if isinstance(name, str)})
        if not files or len(files) > 10_000 or any(Path(name).name != name for name in files):
            raise CheckpointError(
                "does not name the files of the weights",
                where=str(self._path / INDEX),
                fix="convert the checkpoint again",
            )
        return [self._path / name for name in files]

    def _open(self) -> dict[str, Any]:
        """Open the folder's safetensors files: the open file by the names of its tensors."""
        files = {}
        for path in self.files:
            try:
                file: Any = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise CheckpointError(
                    f"cannot be opened: {error}", where=str(path), fix="convert it again"
                ) from error
            files.update({str(key): file for key in file.keys()})  # noqa: SIM118
        return files

    def _check(self) -> None:
        expected = {
            name: list(shape)
            for weight in self._weights.values()
            for name, shape in huggingface_shapes(weight).items()
        }
        found = {
            name: list(file.get_slice(name).get_shape())
            for name, file in self._files.items()
            if name != NO_TOKEN_TYPES or self.config.token_types
        }
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise CheckpointError(
                    f"{name} should be {expected.get(name, 'absent')}, "
                    f"and is {found.get(name, 'absent')}",
                    where=str(self._path),
                    fix="convert the checkpoint again",
                )


def huggingface_shapes(weight: Weight) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor a weight is kept as."""
    rows = weight.shape[0] // len(weight.huggingface)
    return dict.fromkeys(weight.huggingface, (rows, *weight.shape[1:]))


def huggingface_tensors(weight: Weight, tensor: Tensor, heads: int) -> dict[str, Tensor]:
    """Turn one of our weights into the tensors it is kept as."""
    if weight.partition != "heads":
        return {weight.huggingface[0]: tensor}
    by_part = tensor.view(heads, 3, -1, *tensor.shape[1:]).unbind(1)
    return {
        name: part.flatten(0, 1).contiguous()
        for name, part in zip(weight.huggingface, by_part, strict=True)
    }


def _part(said: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return what a configuration says under our own name."""
    ours = said.get("proteinlm", {})
    if not isinstance(ours, dict):
        raise CheckpointError("proteinlm should be a JSON object", where=str(path), fix=_ANOTHER)
    return ours


def _read_json(path: Path) -> dict[str, Any]:
    try:
        said = parse_json(read_text(path))
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise CheckpointError(f"not valid JSON: {error}", where=str(path)) from error
    if not isinstance(said, dict):
        raise CheckpointError("should be a JSON object", where=str(path))
    return said
