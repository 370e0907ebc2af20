"""ProteinLM as a model adapter: sequences in, representations and token scores out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from tape_bench import kernels, paths
from tape_bench.data.vocabulary import MEGATRON_IUPAC
from tape_bench.errors import ModelError
from tape_bench.models.embedder import (
    Identity,
    Network,
)
from tape_bench.models.placement import choose_device, choose_dtype
from tape_bench.models.proteinlm.checkpoint import (
    load_encoder,
    open_checkpoint,
    remembered_digest,
)
from tape_bench.models.proteinlm.config import Gelu, Given, QkvOrder
from tape_bench.models.proteinlm.fork_folder import is_fork_folder
from tape_bench.models.proteinlm.mapping import weights
from tape_bench.models.proteinlm.reading import Reading, SpecialTokens
from tape_bench.models.proteinlm.source import WeightSource
from tape_bench.models.transformer.adapter import PackedTransformer
from tape_bench.models.transformer.encoder import Encoder
from tape_bench.parallel.tensor import ALONE, TensorParallel


def load(
    argument: str | None,
    *,
    dtype: str | None = None,
    device: str | None = None,
    reading: str | None = None,
    special_tokens: SpecialTokens | None = None,
    layer: int | None = None,
    qkv_order: QkvOrder | None = None,
    heads: int | None = None,
    gelu: Gelu | None = None,
    layernorm_eps: float | None = None,
    tensor_parallel: TensorParallel = ALONE,
) -> ProteinLM:
    """Load ProteinLM from a checkpoint.

    Args:
        argument: path of a Megatron checkpoint root, `iter_*` or `release` folder,
            `model_optim_rng.pt`, converted folder, or folder of the TAPE fork.
        dtype: precision to compute in; None for float32 on a CPU, and on a GPU what the
            checkpoint has. Residual stream, layer norms and softmax are float32 in any case, and
            so are matrix products on a CPU that is slow in the precision: it then has weights
            of half the size, at almost the speed of float32.
        device: `cpu`, `cuda` or `cuda:N`; None for a GPU where there is one.
        reading: `megatron`, or `fork`, which a folder of the fork has by itself; see `Reading`.
        special_tokens: `cls` or `cls_sep`; None for what goes with the reading.
        layer: number of layers to go through; None for all.
        qkv_order: how query, key and value rows lie, against what the checkpoint says.
        heads: number of attention heads, where the checkpoint does not say.
        gelu: `tanh` or `erf`, where the checkpoint does not say.
        layernorm_eps: where the checkpoint does not say.
        tensor_parallel: this process's part of a network that several compute together.

    Raises:
        CheckpointError: the checkpoint is missing, broken, foreign, unsafe or incomplete. The
            weights themselves are read when they are first needed.
        ModelError: the options ask for what the model or the machine does not have.
    """
    if not argument:
        raise ModelError("proteinlm needs a checkpoint", fix="write proteinlm:PATH")
    path = paths.expand(argument)
    given = Given(heads, gelu, layernorm_eps, qkv_order)
    return ProteinLM(
        lambda: open_checkpoint(path, given),
        Reading(reading or _reading_of(path), special_tokens, layer),
        spec=f"proteinlm:{argument}",
        name=_short_name(path),
        pretraining=("Pfam",),
        dtype=dtype,
        device=device,
        tensor_parallel=tensor_parallel,
    )


class ProteinLM(PackedTransformer):
    """ProteinLM, trained or untrained."""

    vocabulary = MEGATRON_IUPAC

    def __init__(
        self,
        open_source: Callable[[], WeightSource],
        reading: Reading,
        *,
        spec: str,
        name: str,
        pretraining: tuple[str, ...],
        control: bool = False,
        dtype: str | None = None,
        device: str | None = None,
        tensor_parallel: TensorParallel = ALONE,
    ) -> None:
        source = open_source()
        config = source.config
        if reading.name == "fork":
            config = dataclasses.replace(config, gelu="erf")
        place = choose_device(device)
        precision = choose_dtype(dtype, place, source.stored_dtype)
        multiplies = kernels.arithmetic(precision, place)
        shape = Network(
            layers=config.layers,
            hidden=config.hidden,
            inner=4 * config.hidden,
            dtype=str(multiplies).removeprefix("torch."),
            device=str(place),
        )
        super().__init__(
            shape,
            spec=spec,
            dtype=precision,
            device=place,
            layer=reading.layer,
            tensor_parallel=tensor_parallel,
        )
        self.config, self.reading, self.notes = config, reading, source.notes
        self.before = (self.vocabulary.cls,)
        # `[SEP]` behind the residues in one reading only.
        self.after = (self.vocabulary.sep,) if reading.tokens == "cls_sep" else ()
        self._open_source = open_source
        self._origin = source.origin
        self._name = name
        self._pretraining = pretraining
        self._control = control

    @property
    def longest(self) -> int:
        """Most residues of a sequence: as many as there are places for."""
        return self.config.positions - self.special_tokens

    def load_encoder(self) -> Encoder:
        """Build the network around the checkpoint's weights."""
        source = self._open_source()
        # Nothing is computed with weights that nobody has looked at.
        remembered_digest(source)
        return load_encoder(
            source,
            self.config,
            dtype=self.dtype,
            device=self.device,
            normalise_output=self.reading.name == "megatron",
            parallel=self._tensor_parallel,
        )

    @cached_property
    def identity(self) -> Identity:
        """Who the model is; the first look at it hashes the weights.

        It hashes the file, not the network, whose weights may be of another precision or, while
        it is fine-tuned, of another value.
        """
        return Identity(
            spec=self.spec,
            name=self._name,
            revision=self._origin.revision,
            weights_digest=remembered_digest(self._open_source()),
            parameters=sum(math.prod(weight.shape) for weight in weights(self.config).values()),
            hidden_size=self.config.hidden,
            longest_input=self.longest,
            pretraining=self._pretraining,
            dtype=str(self.dtype).removeprefix("torch."),
            layer=self.reading.layer,
            reading={
                "reading": self.reading.name,
                "special_tokens": self.reading.tokens,
                "gelu": self.config.gelu,
                "layernorm_eps": str(self.config.layernorm_eps),
                "checkpoint_version": self._origin.checkpoint_version,
                "qkv_order": self._origin.qkv_order,
            }
            | self._unlike_its_weights,
            control=self._control,
        )

    @property
    def _unlike_its_weights(self) -> dict[str, str]:
        arithmetic = kernels.arithmetic(self.dtype, self.device)
        if arithmetic == self.dtype:
            return {}
        return {"arithmetic": str(arithmetic).removeprefix("torch.")}


def _reading_of(path: Path) -> str:
    return "fork" if is_fork_folder(path) else "megatron"


def _short_name(path: Path) -> str:
    """Name a model after its folder, not after an iteration or a rank within it."""
    inner = ("iter_", "mp_rank_", "release", "model_optim_rng")
    named = [part for part in path.absolute().parts if not part.startswith(inner)]
    label = named[-1].lower()
    return label if label.startswith("proteinlm") else f"proteinlm-{label}"
