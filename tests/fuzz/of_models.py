"""Checkpoints of every form, and what describes them."""

from __future__ import annotations

import functools
import json
import random
import sys
from pathlib import Path
from typing import Any

import mutations
import torch
from of_own import spoil_one
from outcomes import Target, WrongError, same, steers_nothing

from tape_bench.models.controls.untrained import EXAMPLE, RandomWeights
from tape_bench.models.controls.untrained import load as load_random
from tape_bench.models.proteinlm.checkpoint import digest, open_checkpoint, remembered_digest
from tape_bench.models.proteinlm.config import ProteinLMConfig
from tape_bench.models.proteinlm.convert import convert
from tape_bench.models.proteinlm.megatron.layout import find
from tape_bench.models.proteinlm.megatron.writer import Sharding

CONFIG = ProteinLMConfig(layers=1, hidden=16, heads=2, positions=16, layernorm_eps=1e-5, gelu="erf")


def source() -> RandomWeights:
    return RandomWeights(CONFIG, 1, stored_dtype=torch.float16)


@functools.cache
def expected() -> str:
    return digest(source())


def _folder(folder: Path) -> None:
    convert(source(), folder / "model")


def _megatron(folder: Path) -> None:
    convert(source(), folder / "model", to="megatron", sharding=Sharding(1, 1, "3.0"))


def _legacy(folder: Path) -> None:
    _megatron(folder)
    (path,) = folder.glob("model/**/*.pt")
    state = torch.load(path, weights_only=False)
    torch.save(state, path, _use_new_zipfile_serialization=False)


def _promised(folder: Path) -> str:
    """Weights whose digest, or checksum, stands beside them: the same, or an error."""
    return same(remembered_digest(open_checkpoint(folder / "model")), expected())


def _any_weights(folder: Path) -> str:
    """Weights that were written anew: any that are whole and finite."""
    opened = open_checkpoint(folder / "model")
    for note in opened.notes:
        steers_nothing(str(note)) if "\x1b" not in str(folder) else None
    if len(remembered_digest(opened)) != 64:
        raise WrongError("no digest")
    return "read"


def _described(folder: Path) -> str:
    """A configuration that was changed: the weights stay the same, whatever it says of the rest."""
    return same(remembered_digest(open_checkpoint(folder / "model")), expected())


def _zip_anew(rng: random.Random, content: bytes) -> bytes:
    return mutations.of_zip(rng, content, rng.choice((mutations.of_pickle, mutations.raw)))


def _unfinished(folder: Path) -> None:
    import tape_bench.models.proteinlm.convert as module

    module._LARGEST_FILE = 1_500
    write, times = module._write_group, []

    def stopped(*given: Any) -> None:
        times.append(1)
        if len(times) == 3:
            raise KeyboardInterrupt
        write(*given)

    module._write_group = stopped
    try:
        convert(source(), folder / "model")
    except KeyboardInterrupt:
        pass
    finally:
        module._write_group = write


def _convert_use(folder: Path) -> str:
    import tape_bench.models.proteinlm.convert as module

    module._LARGEST_FILE = 1_500
    same(convert(source(), folder / "model"), expected())
    if {path.name for path in folder.iterdir() if not path.name.startswith("cache")} != {"model"}:
        raise WrongError("something was left")
    return _promised(folder)


def _tape_bert(folder: Path) -> None:
    from tape_bench.models.tape_bert.checkpoint import _names
    from tape_bench.models.tape_bert.network import TapeBert, TapeBertConfig

    config = {
        "vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 16, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12, "hidden_act": "gelu",
    }  # fmt: skip
    made = folder / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    network = TapeBert(TapeBertConfig(**config), masked_head=False).state_dict()
    theirs = _names(1, "", False)
    torch.save(
        {theirs[name]: tensor for name, tensor in network.items()}, made / "pytorch_model.bin"
    )


def _tape_bert_use(folder: Path) -> str:
    from tape_bench.models.tape_bert.adapter import load

    model = load(str(folder / "model"))
    (vector,) = model.embed(["MKV"], "mean")
    if not torch.isfinite(torch.as_tensor(vector)).all():
        raise WrongError("not finite")
    steers_nothing(str(model.identity.name))
    return "read"


def _random_use(folder: Path) -> str:
    if load_random(str(folder / "config.json")).identity.hidden_size < 1:
        raise WrongError("no size")
    return "read"


def _layout_spoil(folder: Path, rng: random.Random) -> None:
    (root,) = folder.glob("model/release")
    match rng.randrange(4):
        case 0:
            tracker = folder / "model" / "latest_checkpointed_iteration.txt"
            tracker.write_bytes(mutations.of_lines(rng, tracker.read_bytes()))
        case 1:
            name = rng.choice(("mp_rank_999999999", "mp_rank_00_999", "mp_rank_0",
                               "mp_rank_\x1b[2J",
                               "mp_rank_" + "9" * 200, "mp_rank_01", "mp_rank_٣"))  # fmt: skip
            (root / name).mkdir()
        case 2:
            (root / "mp_rank_00").rename(root / rng.choice(("mp_rank_01", "mp_rank_00_000", "x")))
        case _:
            shard = root / "mp_rank_00" / "model_optim_rng.pt"
            shard.rename(shard.with_name("x"))
            if rng.random() < 0.5:
                shard.mkdir()


def _layout_use(folder: Path) -> str:
    for row in find(folder / "model").shards:
        for path in row:
            if not path.is_relative_to(folder):
                raise WrongError("elsewhere")
    return _promised(folder)


TARGETS: dict[str, Target] = {
    "converted weights": Target(
        _folder, spoil_one("model/*.safetensors", mutations.raw), _promised
    ),
    "converted config": Target(
        _folder, spoil_one("model/config.json", mutations.of_json, mutations.raw), _described, 20
    ),
    "megatron file": Target(_megatron, spoil_one("model/**/*.pt", mutations.raw), _promised),
    "megatron pickle": Target(_megatron, spoil_one("model/**/*.pt", _zip_anew), _any_weights, 20),
    "megatron of old": Target(
        _legacy, spoil_one("model/**/*.pt", mutations.raw, mutations.of_pickle), _any_weights
    ),
    "megatron folders": Target(_megatron, _layout_spoil, _layout_use, 5),
    "a conversion under way": Target(
        _unfinished, spoil_one(".model.unfinished/*", mutations.raw, mutations.of_json),
        _convert_use, 5,
    ),
    "tape_bert config": Target(
        _tape_bert, spoil_one("model/config.json", mutations.of_json, mutations.raw), _tape_bert_use
    ),
    "tape_bert weights": Target(
        _tape_bert, spoil_one("model/*.bin", mutations.raw, _zip_anew), _tape_bert_use
    ),
    "random config": Target(
        lambda folder: (folder / "config.json").write_text(EXAMPLE) and None,
        spoil_one("config.json", mutations.of_json, mutations.raw), _random_use, 5,
    ),
}  # fmt: skip


def _hub(family: str) -> Any:
    def prepare(folder: Path) -> None:
        # Beside the tests, not among the packages.
        sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
        from hub_models import make

        make(family, folder / "model")

    return prepare


def _hub_use(folder: Path) -> str:
    from tape_bench.models import load_model

    model = load_model(f"hf:{folder / 'model'}")
    (vector,) = model.embed(["MKVLA"], "mean")
    if not torch.isfinite(torch.as_tensor(vector)).all():
        raise WrongError("not finite")
    steers_nothing(str(model.identity.name))
    return "read"


TARGETS |= {
    f"hub's {family}": Target(
        _hub(family),
        spoil_one("model/*", mutations.raw, mutations.of_json, mutations.of_json),
        _hub_use,
        4,
    )
    for family in ("esm2", "protbert", "ankh")
}
