"""From a path to a network: opening a checkpoint, loading it, and telling it from any other."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from tape_bench import paths
from tape_bench.data.digests import remembered
from tape_bench.errors import CheckpointError, UsageError
from tape_bench.models.proteinlm.config import Given, ProteinLMConfig
from tape_bench.models.proteinlm.folder import CONFIG, ConvertedFolder
from tape_bench.models.proteinlm.fork_folder import ForkFolder, is_fork_folder
from tape_bench.models.proteinlm.mapping import VOCABULARY, weights
from tape_bench.models.proteinlm.megatron.partition import Rank
from tape_bench.models.proteinlm.megatron.reader import MegatronCheckpoint
from tape_bench.models.proteinlm.source import WeightSource
from tape_bench.models.transformer.encoder import Encoder
from tape_bench.parallel.tensor import ALONE, TensorParallel


def open_checkpoint(path: Path, given: Given | None = None) -> WeightSource:
    """Open a checkpoint and check all that can be checked without reading its weights.

    Args:
        path: a Megatron checkpoint root, an `iter_*` or `release` folder, one
            `model_optim_rng.pt`, or a folder that `tape-bench convert` or the TAPE fork wrote.
        given: what the user says where the checkpoint is silent.

    Raises:
        CheckpointError: it is missing, broken, foreign, unsafe, or does not say enough.
        UsageError: something is given that a converted folder already says.
    """
    given = given or Given()
    if not (path / CONFIG).is_file():
        return MegatronCheckpoint(path, given)
    fork = is_fork_folder(path)
    if given != Given():
        raise UsageError(
            "a folder with a config.json knows its shape and how it was read",
            where=str(path),
            fix="leave heads, gelu, layernorm_eps and qkv_order out, or convert it again with them",
        )
    return ForkFolder(path) if fork else ConvertedFolder(path)


def read_weights(
    source: WeightSource,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    keep: Rank = (0, 1),
    share: bool = False,
) -> dict[str, Tensor]:
    """Read all weights, or the slices one tensor-parallel rank keeps, one tensor at a time."""
    return {
        name: source.read(name, dtype=dtype, device=device, keep=keep, share=share)
        for name in weights(source.config)
    }


def build_encoder(
    config: ProteinLMConfig,
    *,
    vocabulary: int,
    normalise_output: bool = True,
    parallel: TensorParallel = ALONE,
) -> Encoder:
    """Build the network a config describes, or what one tensor-parallel rank has of it.

    Under `torch.device("meta")` it takes no memory.
    """
    return Encoder(
        layers=config.layers,
        hidden=config.hidden,
        heads=config.heads,
        positions=config.positions,
        vocabulary=vocabulary,
        layernorm_eps=config.layernorm_eps,
        gelu=config.gelu,
        head_gelu=config.head_gelu,
        residual_after_norm=config.residual_after_norm,
        normalise_output=normalise_output,
        token_types=config.token_types,
        mlm_head=config.mlm_head,
        parallel=parallel,
    )


def load_encoder(
    source: WeightSource,
    config: ProteinLMConfig,
    *,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    normalise_output: bool = True,
    parallel: TensorParallel = ALONE,
) -> Encoder:
    """Build a network around the weights of a checkpoint.

    The network is built without memory and the weights are put in place as they are read, so
    that no second copy exists at any time; where the file has them just as asked for, there is
    no copy at all. `config` is the source's own, or a variation on it that has the same weights.
    A tensor-parallel rank reads and keeps its own slices only.
    """
    with torch.device("meta"):
        encoder = build_encoder(
            config, vocabulary=VOCABULARY, normalise_output=normalise_output, parallel=parallel
        )
    keep = (parallel.rank, parallel.size)
    state = read_weights(source, dtype=dtype, device=device, keep=keep, share=True)
    encoder.load_state_dict(state, assign=True)
    return encoder.eval().requires_grad_(False)


def digest(source: WeightSource, dtype: torch.dtype | None = None) -> str:
    """Return the SHA-256 of the weights, the same however they are sharded, ordered or stored.

    It covers each tensor's name, precision, shape and merged values, vocabulary padding left
    out; `dtype` asks for the digest the weights would have in another precision.

    Raises:
        CheckpointError: a weight has values that are not finite.
    """

    def line(name: str, tensor: Tensor) -> str:
        content = hashlib.sha256(tensor.view(torch.uint8).numpy().data).hexdigest()
        return f"{name} {str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)} {content}\n"

    whole = hashlib.sha256()
    waiting: deque[Future[str]] = deque()
    # Hashing lets other threads run; two tensors at a time keep two cores busy. They are read by
    # this thread alone: what another has allocated is lost to the loading that comes after.
    with ThreadPoolExecutor(max_workers=2) as pool:
        for name in sorted(weights(source.config)):
            tensor = source.read(name, dtype=dtype)
            refuse_not_finite(name, tensor, source.files)
            waiting.append(pool.submit(line, name, tensor))
            if len(waiting) > 2:
                whole.update(waiting.popleft().result().encode())
        for last in waiting:
            whole.update(last.result().encode())
    return whole.hexdigest()


def refuse_not_finite(name: str, tensor: Tensor, files: Sequence[Path]) -> None:
    """Refuse a weight that no training that went well has left.

    Raises:
        CheckpointError: it has values that are not finite.
    """
    if tensor.numel() and not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
        raise CheckpointError(
            f"{name} has values that are not finite",
            where=", ".join(sorted({str(file.parent) for file in files})) or None,
            fix="the training diverged or the file is damaged; get another checkpoint",
        )


def remembered_digest(source: WeightSource) -> str:
    """Return `digest(source)`, from the cache if its files have not changed since it was taken.

    Raises:
        CheckpointError: the weights are not what was written, not finite, or gone.
    """

    def look() -> str:
        source.check_bytes()
        return digest(source)

    what = f"{type(source).__name__} {source.config} {source.origin} {source.stored_dtype}"
    try:
        found = remembered(source.files, what, paths.cache(), look)
    except OSError as error:
        raise CheckpointError(
            f"the file is gone: {error.strerror}", where=error.filename, fix="load the model again"
        ) from error
    if source.promised_digest not in (None, found):
        raise CheckpointError(
            "the weights are not what was converted: their digest is another",
            where=str(source.files[0].parent),
            fix="convert the checkpoint again, or get the folder again",
        )
    return found
