"""The ways a loader of these checkpoints is silently wrong, each shown to be refused or noticed.

Some mistakes are faults of the files: those are refused, by name. The others give a network of
the right shape with wrong values: for these the test makes the mistake on purpose and shows that
the values move by far more than the tolerance that the loaders' tests hold, so that none of
these mistakes can hide in our code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tape_bench.errors import CheckpointError, ModelError, UsageError
from tape_bench.models.controls.untrained import RandomWeights
from tape_bench.models.proteinlm import ProteinLMConfig, load, open_checkpoint
from tape_bench.models.proteinlm.checkpoint import build_encoder, read_weights
from tape_bench.models.proteinlm.mapping import VOCABULARY
from tape_bench.models.proteinlm.megatron.partition import by_head, from_heads

State = dict[str, Tensor]
NOTICED = 1e-5
"""A hundred thousand times the tolerance that the loaders' tests hold in float64."""


def each(state: State, end: str, change: Callable[[Tensor], Tensor]) -> State:
    return {name: change(x) if name.endswith(end) else x for name, x in state.items()}


def read_in_order(wrong: Any) -> Callable[[State], State]:
    def mistake(state: State) -> State:
        return each(
            each(state, "qkv.weight", lambda x: by_head(x, wrong, 4).flatten(0, 2)),
            "qkv.bias",
            lambda x: by_head(x, wrong, 4).flatten(0, 2),
        )

    return mistake


def concatenate_version_0(rows: Tensor) -> Tensor:
    """Lay two ranks' `[3, heads, head]` rows end to end and read them as one rank's."""
    ranks = [from_heads(half, "v0") for half in by_head(rows, "v2", 4).chunk(2)]
    return by_head(torch.cat(ranks), "v0", 4).flatten(0, 2)


def number_layers_per_stage(state: State) -> State:
    return {
        name: state[name.replace("layers.2.", "layers.0.").replace("layers.3.", "layers.1.")]
        for name in state
    }


MISTAKES: list[Any] = [
    pytest.param(read_in_order("v1"), {}, id="1 version 1 rows read as version 2"),
    pytest.param(read_in_order("v0"), {}, id="1 version 0 rows read as version 2"),
    pytest.param(
        lambda state: each(state, "qkv.weight", concatenate_version_0),
        {},
        id="2 version 0 shards merged without interleaving",
    ),
    pytest.param(
        lambda state: each(
            each(state, "attention.dense.bias", lambda x: 2 * x), "contract.bias", lambda x: 2 * x
        ),
        {},
        id="3 row-parallel biases summed over two ranks",
    ),
    pytest.param(
        lambda state: each(
            state, "attention.dense.weight", lambda x: torch.cat(x.chunk(2, 1)).view(32, 32)
        ),
        {},
        id="4 attention output put together along the wrong axis",
    ),
    pytest.param(
        lambda state: each(state, "word.weight", lambda x: x.roll(1, 0)),
        {},
        id="5 word embeddings one row off",
    ),
    pytest.param(number_layers_per_stage, {}, id="7 layers numbered per stage"),
    pytest.param(
        lambda state: each(
            state, "expand.weight", lambda x: torch.cat([x.chunk(2)[1], x.chunk(2)[0]])
        ),
        {},
        id="8 ranks in the wrong order",
    ),
    pytest.param(None, {"normalise_output": False}, id="9 final layer norm dropped"),
    pytest.param(None, {"gelu": "erf"}, id="10 erf instead of tanh"),
    pytest.param(None, {"layernorm_eps": 1e-5}, id="11 PyTorch's layer-norm eps"),
    pytest.param(None, {"heads": 4}, id="15 head count guessed"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "options"), MISTAKES)
def test_a_mistake_would_be_noticed(
    source: RandomWeights,
    write: Callable[..., Path],
    slow_forward: Callable[..., Any],
    mistake: Callable[[State], State] | None,
    options: dict[str, Any],
) -> None:
    root = write(source)
    ids = [2, 17, 15, 24, 6, 30, 15, 6]
    truth, _ = slow_forward(root, ids)
    state = read_weights(open_checkpoint(root), dtype=torch.float64)

    def off(state: State, **options: Any) -> float:
        built = {"normalise_output": options.pop("normalise_output", True)}
        config = dataclasses.replace(source.config, **options)
        encoder = build_encoder(config, vocabulary=VOCABULARY, **built)
        encoder.load_state_dict(state, assign=True)
        return float(np.abs(encoder(torch.tensor([ids]))[0].detach().numpy() - truth).max())

    assert off(state) < 1e-10
    assert off(mistake(state) if mistake else state, **options) > NOTICED


def shard(state: dict[str, Any]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = state["model"]["language_model"]["transformer"]
    return weights


def drop(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: shard(state).pop(name)


def change(name: str, new: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Any]], None]:
    def changed(state: dict[str, Any]) -> None:
        shard(state)[name] = new(shard(state)[name]).contiguous()

    return changed


def set_arg(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda state: setattr(state["args"], name, value)


def drop_arg(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda state: delattr(state["args"], name)


def shrink_vocabulary(state: dict[str, Any]) -> None:
    words = state["model"]["language_model"]["embedding"]["word_embeddings"]
    words["weight"] = words["weight"][:15].clone()


LAST = "mp_rank_01"
FAULTS: list[Any] = [
    pytest.param(
        "mp_rank_01", lambda state: state.pop("checkpoint_version"),
        "checkpoint_version differs", id="1 version only in some ranks",
    ),
    pytest.param(
        "mp_rank_01", lambda state: state.update(checkpoint_version=1.0),
        r"checkpoint_version differs .* 3.0 in mp_rank_00, 1.0 in mp_rank_01",
        id="1 versions in conflict",
    ),
    pytest.param(
        LAST, change("layers.1.attention.dense.weight", torch.t),
        r"attention.dense.weight is \[16, 32\], but \[32, 16\]", id="4 split along the wrong axis",
    ),
    pytest.param(
        "both", shrink_vocabulary, "has 30 rows; the vocabulary has 31",
        id="6 too few words",
    ),
    pytest.param(
        "both", drop("layers.1.input_layernorm.bias"), "tensors are missing: .*layers.1.input",
        id="16 a tensor missing",
    ),
    pytest.param(
        "both", lambda state: state["model"].pop("lm_head"), "tensors are missing: lm_head.bias",
        id="16 the token head missing",
    ),
    pytest.param(
        LAST, lambda state: shard(state).update({"layers.0.bonus": torch.ones(2)}),
        "tensors have no place: .*layers.0.bonus", id="16 a tensor nobody asked for",
    ),
    pytest.param(
        LAST, change("layers.1.input_layernorm.weight", lambda x: x + 1),
        "attention_norm.weight differs between tensor-parallel ranks 0 and 1",
        id="19 ranks differ in a layer norm",
    ),
    pytest.param(
        LAST, change("layers.1.mlp.dense_4h_to_h.bias", lambda x: x + 1),
        "mlp.contract.bias differs", id="19 ranks differ in a row-parallel bias",
    ),
    pytest.param(
        "both", drop_arg("num_attention_heads"), "does not say what -M heads must be",
        id="15 head count unknown",
    ),
    pytest.param(
        "both", drop_arg("layernorm_epsilon"), "-M layernorm_eps must be",
        id="11 eps unknown",
    ),
    pytest.param(
        "both", drop_arg("bias_gelu_fusion"), "-M gelu must be", id="10 gelu unknown",
    ),
    pytest.param(
        "both", set_arg("num_attention_heads", 1), "1 heads cannot lie on 2",
        id="20 heads not divisible by ranks",
    ),
    pytest.param(
        "both", set_arg("tensor_model_parallel_size", 4), "4 tensor-parallel ranks, but 2",
        id="8 fewer ranks than args say",
    ),
    pytest.param(
        "both", set_arg("pipeline_model_parallel_size", 2), "2 pipeline stages, but 1",
        id="8 fewer stages than args say",
    ),
    pytest.param(
        "both", set_arg("num_layers", 6), "args say num_layers 6, the tensors say 4",
        id="7 fewer layers than args say",
    ),
    pytest.param(
        "both",
        lambda state: [
            shard(state).pop(name) for name in list(shard(state)) if name.startswith("layers.2.")
        ],
        "layer 2 of 4 is missing", id="7 a layer missing",
    ),
    pytest.param(
        LAST, lambda state: state.update(iteration=7), "iteration differs .* 0 in .* 7 in",
        id="8 ranks of different iterations",
    ),
    pytest.param(
        LAST, set_arg("layernorm_epsilon", 1e-5), "args.layernorm_epsilon differs .* 1e-12 in",
        id="8 ranks of different runs",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ranks", "fault", "message"), FAULTS)
def test_a_faulty_file_is_refused(
    source: RandomWeights,
    write: Callable[..., Path],
    edit: Callable[..., None],
    ranks: str,
    fault: Callable[[dict[str, Any]], None],
    message: str,
) -> None:
    root = write(source, 2)
    for rank in ["mp_rank_00", "mp_rank_01"] if ranks == "both" else [ranks]:
        edit(root, fault, rank)
    with pytest.raises(CheckpointError, match=message) as caught:
        _ = load(str(root), device="cpu").encoder
    assert caught.value.exit_code == 2


def test_8_a_missing_rank_is_refused(source: RandomWeights, write: Callable[..., Path]) -> None:
    root = write(source, 4)
    next(root.glob("*/mp_rank_02/*")).unlink()
    with pytest.raises(CheckpointError, match="missing: mp_rank_02"):
        load(str(root), device="cpu")


@pytest.mark.parametrize("known", [True, False], ids=["args", "no args"])
def test_8_one_rank_of_two_is_not_taken_for_the_whole(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None], known: bool
) -> None:
    root = write(source, 2)
    given: dict[str, Any] = {}
    if not known:
        edit(root, lambda state: state.pop("args"))
        given = {"heads": 8, "gelu": "tanh", "layernorm_eps": 1e-12}
    with pytest.raises(CheckpointError, match="folder that holds all mp_rank"):
        load(str(next(root.glob("*/mp_rank_00"))), device="cpu", **given)


def test_7_the_last_stages_words_must_be_the_firsts(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source, 1, 2)

    def drift(state: dict[str, Any]) -> None:
        state["model"]["word_embeddings_for_head"]["weight"][3] += 1

    edit(root, drift, "mp_rank_00_001")
    with pytest.raises(CheckpointError, match="not the first stage's word embeddings"):
        load(str(root), device="cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_12_13_padding_is_masked_in_any_precision(
    source: RandomWeights, write: Callable[..., Path], dtype: str
) -> None:
    model = load(str(write(source)), dtype=dtype, device="cpu")
    ids = torch.tensor([[2, 17, 15, 0, 0, 0, 0, 0]])
    mask = ids != 0
    alone = model.encoder(ids[:, :3])
    masked = model.encoder(ids, mask)
    assert masked.isfinite().all()
    off = float((masked[:, :3] - alone).abs().max())
    assert off < {"float32": 1e-5, "bfloat16": 0.05}[dtype]
    assert float((model.encoder(ids)[:, :3] - alone).abs().max()) > 10 * off + 0.1


@pytest.mark.parametrize("sequence", ["mkv", "MK V", "MKJ", "MK*", "MK-", "MKé", "[MASK]"])
def test_14_letters_are_never_replaced(
    source: RandomWeights, write: Callable[..., Path], sequence: str
) -> None:
    model = load(str(write(source)), device="cpu")
    with pytest.raises(ModelError, match="no residue letter") as caught:
        model.embed(["MKV", sequence])
    assert caught.value.exit_code == 2


def test_17_a_release_is_found_by_its_tracker(
    source: RandomWeights, write: Callable[..., Path]
) -> None:
    root = write(source)
    assert (root / "latest_checkpointed_iteration.txt").read_text() == "release"
    assert open_checkpoint(root).origin.revision == "release"


def test_18_the_optimizer_is_passed_over(
    source: RandomWeights, write: Callable[..., Path], edit: Callable[..., None]
) -> None:
    root = write(source)
    lively = {
        "fp32_from_fp16_params": [[torch.full((5,), float("nan"))]],
        "state": {0: {"step": 3}},
    }
    edit(root, lambda state: state.update(optimizer=lively, lr_scheduler={"lr": 0.1}))
    assert load(str(root), device="cpu").identity.weights_digest is not None


def test_20_heads_that_cannot_be_shared_are_refused_at_run_time(
    source: RandomWeights, write: Callable[..., Path]
) -> None:
    with pytest.raises(ModelError, match="8 heads cannot be shared equally by 3"):
        read_weights(open_checkpoint(write(source, 2)), keep=(0, 3))
    with pytest.raises(UsageError, match="8 heads cannot be shared equally by 3"):
        write(source, 3)


def test_the_network_is_a_real_one(config: ProteinLMConfig) -> None:
    """Mistakes that need several heads, stages and layers would not show in less."""
    assert config.heads >= 8
    assert config.layers >= 4
    assert config.hidden // config.heads >= 2
