"""Training end to end: against a loop of plain torch, stopped anywhere, short of memory."""

from __future__ import annotations

import dataclasses
import math
import warnings
from pathlib import Path

import hub_models
import numpy as np
import pytest
import torch
import transformers

from tape_bench import memo
from tape_bench.data.examples import load_task
from tape_bench.errors import ModelError, UsageError
from tape_bench.models.huggingface.loading import load
from tape_bench.protocols.finetune import resume, trained
from tape_bench.protocols.finetune.checkpointing import recompute_blocks
from tape_bench.protocols.finetune.plan import Finetune
from tape_bench.protocols.finetune.schedule import factor, shuffled
from tape_bench.protocols.finetune.train import Training
from tape_bench.registry import task

TASKS = ("secondary_structure", "contact", "remote_homology", "fluorescence", "stability")
LIMIT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Weights of a size that training is stable at.
    place = hub_models.make("esm2", tmp_path_factory.mktemp("hub") / "esm2")
    network = transformers.EsmForMaskedLM(transformers.EsmConfig.from_pretrained(place))
    network.save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def model(folder):
    return load(str(folder), dtype="float32", device="cpu")


def training(model, name="stability", seed=0, network=None, limit=LIMIT, **options):
    card = task(name)
    options = {"batch": 5, "epochs": 2, "warmup": 0.0, **options}
    plan = Finetune(**options).plan(card, model.identity, (seed,))
    data = load_task(card, data="sample", limit=limit)
    return Training(
        plan,
        card.targets[0],
        data[card.split_of("train")],
        data[card.split_of("valid")],
        network or model.to_train(),
        seed,
    )


def ran(one, keep=lambda: None):
    one.run(lambda *told: None, keep)
    return {name: weight.detach().clone() for name, weight in one.moved().items()}


def same(first, second, tolerance=0.0):
    assert first.keys() == second.keys()
    for name, weight in first.items():
        if tolerance:
            assert torch.allclose(weight, second[name], atol=tolerance), name
        else:
            assert torch.equal(weight, second[name]), name


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("moves", ["all", "lora", "last", "head"])
def test_every_kind_of_task_learns_by_moving_what_it_should_and_nothing_else(model, name, moves):
    before = dict(model.to_train().weights.named_parameters())
    epochs = 10 if name == "contact" else 3
    one = training(model, name, moves=moves, epochs=epochs, learning_rate=2e-3, patience=20)
    ran(one)
    losses = [row[0] for row in one.account.history]
    assert losses[-1] < losses[0]
    changed = {
        n
        for n, weight in one.scorer.network.weights.named_parameters()
        if ".lora." not in n and not torch.equal(weight, before[n])
    }
    low = any(".lora." in n for n, _ in one.scorer.network.weights.named_parameters())
    assert low == (moves == "lora")
    if moves == "all":
        assert any(n.startswith("layers.0.") for n in changed)
        assert "word.weight" in changed
    elif moves == "last":
        assert changed
        assert all(n.startswith("layers.2.") for n in changed)
    else:
        assert not changed


@pytest.mark.parametrize("family", hub_models.FAMILIES)
def test_frozen_blocks_and_embeddings_stay(family, tmp_path):
    model = load(str(hub_models.make(family, tmp_path / family)), dtype="float32", device="cpu")
    before = dict(model.to_train().weights.named_parameters())
    one = training(model, frozen=2, learning_rate=1e-4, clip=0.01, epochs=1)
    network = one.scorer.network
    names = {id(weight): name for name, weight in network.weights.named_parameters()}
    inside = [{names[id(w)] for w in block.parameters()} for block in network.blocks]
    ran(one)
    own = dict(network.weights.named_parameters())
    changed = {n for n, weight in own.items() if not torch.equal(weight, before[n])}
    assert changed & inside[2]
    assert not changed & (inside[0] | inside[1])
    tables = {n for n in own if "embed" in n or n.startswith(("word", "position", "shared"))}
    tables -= {n for n in tables if "emb_layer_norm_after" in n}
    assert tables
    assert not changed & tables
    assert changed - inside[2], "a norm behind the blocks is trained"


def test_no_more_blocks_can_be_frozen_than_there_are(model):
    with pytest.raises(UsageError, match="4 blocks cannot be frozen: the model has 3"):
        training(model, frozen=4)


def test_it_is_the_loop_that_anyone_would_write(model, folder):
    """Transformers' network, padded, torch's AdamW, clipping, a linear schedule: same losses."""
    one = training(model, "stability", epochs=2, learning_rate=1e-3, warmup=2, weight_decay=0.1)
    start = {n: w.detach().clone() for n, w in one.scorer.head.named_parameters()}
    ran(one)

    card = task("stability")
    data = load_task(card, data="sample", limit=LIMIT)
    train, valid = data[card.split_of("train")], data[card.split_of("valid")]
    values = {
        split: np.array([example.targets["stability_score"] for example in split])
        for split in (train, valid)
    }
    centre, spread = values[train].mean(), values[train].std()
    network = transformers.EsmModel.from_pretrained(
        folder, dtype=torch.float32, add_pooling_layer=False
    )
    head = torch.nn.Linear(24, 1)
    with torch.no_grad():
        head.weight.copy_(start["scores.weight"])
        head.bias.copy_(start["scores.bias"])
    tokenizer = transformers.EsmTokenizer.from_pretrained(folder)
    everything = [*network.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": [w for w in everything if w.dim() > 1], "weight_decay": 0.1},
            {"params": [w for w in everything if w.dim() == 1], "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    steps = 2 * math.ceil(LIMIT / 5)
    schedule = transformers.get_linear_schedule_with_warmup(optimiser, 2, steps)

    def loss_of(split, rows):
        told = tokenizer([split.sequences[row] for row in rows], return_tensors="pt", padding=True)
        states = network(**told).last_hidden_state
        inside = told["attention_mask"].clone()
        inside[:, 0] = 0
        inside[torch.arange(len(rows)), told["attention_mask"].sum(1) - 1] = 0
        pooled = (states * inside[..., None]).sum(1) / inside.sum(1, keepdim=True)
        wanted = torch.tensor((values[split][rows] - centre) / spread, dtype=torch.float32)
        return (head(pooled)[:, 0] - wanted).square().mean()

    network.eval()  # its dropout of a tenth is no part of ours
    for epoch in range(2):
        total = 0.0
        for rows in shuffled(0, epoch, LIMIT, 5):
            optimiser.zero_grad()
            loss = loss_of(train, rows)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(everything, 1.0)
            # Ours counts a warm-up from the first step on, theirs begins with a step of nothing.
            for group in optimiser.param_groups:
                group["lr"] = 1e-3 * factor(one.recipe, schedule.last_epoch, steps)
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        with torch.no_grad():
            judged = loss_of(valid, np.arange(len(valid))).item()
        assert one.account.history[epoch][:2] == pytest.approx([total / LIMIT, judged], rel=2e-4)


def test_schedules_are_those_of_transformers():
    """After the warm-up, the factor is the library's."""
    from tape_bench.protocols.finetune.recipe import Recipe

    weight = torch.nn.Parameter(torch.zeros(1))
    for name, make in (
        ("linear", transformers.get_linear_schedule_with_warmup),
        ("cosine", transformers.get_cosine_schedule_with_warmup),
    ):
        optimiser = torch.optim.SGD([weight], lr=1.0)
        schedule = make(optimiser, 10, 100)
        recipe = Recipe(schedule=name, warmup=10)
        for step in range(100):
            if step >= 10:
                assert factor(recipe, step, 100) == pytest.approx(optimiser.param_groups[0]["lr"])
            else:
                assert factor(recipe, step, 100) == pytest.approx((step + 1) / 10)
            optimiser.step()
            schedule.step()
    assert factor(Recipe(schedule="constant", warmup=0), 99, 100) == 1.0
    assert factor(Recipe(warmup=0.1), 4, 100) == pytest.approx(0.5)


def test_the_same_seed_gives_the_same_weights_and_another_others(model):
    first, again, other = (ran(training(model, seed=seed, dropout=0.2)) for seed in (3, 3, 4))
    same(first, again)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_step_in_many_launches_is_the_step(model):
    whole = training(model, "secondary_structure", moves="lora", tokens=10_000)
    pieces = training(model, "secondary_structure", moves="lora", tokens=1)
    launches = [
        len(one.train.launches(range(5), one.scorer.network, one.tokens)) for one in (whole, pieces)
    ]
    assert launches == [1, 5]
    same(ran(whole), ran(pieces), 1e-5)


def test_blocks_computed_again_give_the_same(model):
    plain, again = training(model), training(model)
    recompute_blocks(again.scorer.network)
    mapped = []
    for one in (plain, again):
        calls = []
        first = next(one.scorer.network.linear_maps()).module
        first.register_forward_hook(lambda *told, calls=calls: calls.append(told))
        one._gradients([0, 1])
        mapped.append(len(calls))
    assert mapped == [1, 2], "on the way there, and once more on the way back"
    same(ran(plain), ran(again), 1e-6)


class Stop(Exception):  # noqa: N818
    """What a kill is in these tests."""


@pytest.mark.parametrize("moves", ["all", "lora"])
@pytest.mark.parametrize("stop", [1, 3, 4, 5])
def test_stopped_after_any_step_it_ends_with_the_same_weights(model, tmp_path, moves, stop):
    options = {"moves": moves, "dropout": 0.3, "learning_rate": 1e-3}
    whole = training(model, **options)
    wanted = ran(whole)
    stopped = training(model, **options)
    key, place = ["run", "target", 0], tmp_path / "a-0.training.json"

    def keep():
        resume.keep(stopped, key, place)
        if stopped.account.step == stop:
            raise Stop

    with pytest.raises(Stop):
        ran(stopped, keep)
    going_on = training(model, **options)
    assert resume.recall(going_on, key, place)
    assert going_on.account.step == stop
    same(wanted, ran(going_on))
    assert going_on.selected == whole.selected
    assert len(list(tmp_path.iterdir())) == 2


def test_what_another_run_left_and_what_is_not_whole_is_not_believed(model, tmp_path):
    one = training(model)
    place = tmp_path / "a-0.training.json"
    with pytest.raises(Stop):
        ran(one, lambda: (resume.keep(one, ["run"], place), (_ for _ in ()).throw(Stop))[0])
    assert not resume.recall(training(model), ["another run"], place)
    (file,) = tmp_path.glob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert not resume.recall(training(model), ["run"], place)
    file.write_bytes(whole)
    assert resume.recall(training(model), ["run"], place)
    told = memo.read(place)
    memo.write(place, {**told, "file": "../elsewhere.safetensors"})
    assert not resume.recall(training(model), ["run"], place)


class Short(torch.nn.Module):
    """A network in a machine that holds so many residues."""

    def __init__(self, network, most):
        super().__init__()
        self.inner, self.most, self.largest = network, most, 0

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inner, name)

    def forward(self, sequences):
        if sum(map(len, sequences)) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.largest = max(self.largest, sum(map(len, sequences)))
        return self.inner(sequences)


def test_short_of_memory_it_takes_less_at_once_says_so_and_comes_to_the_same(model):
    roomy = ran(training(model, "secondary_structure"))
    short = Short(model.to_train(), 400)
    one = training(model, "secondary_structure", network=short)
    with pytest.warns(UserWarning, match="out of memory: steps go on in launches of"):
        found = ran(one)
    assert short.largest <= 400
    for (name, weight), mine in zip(roomy.items(), found.values(), strict=True):
        assert torch.allclose(weight, mine, atol=1e-4), name
    tiny = training(model, "secondary_structure", network=Short(model.to_train(), 3))
    warnings.simplefilter("ignore")
    with pytest.raises(ModelError, match="does not hold the training of a protein of"):
        ran(tiny)


def test_a_loss_that_is_not_finite_ends_training_and_says_where(model):
    one = training(model, learning_rate=1e30, clip=None, epochs=4)
    with pytest.raises(ModelError, match="training became unstable") as told:
        ran(one)
    assert "lower learning_rate" in str(told.value)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_goes_the_same_way(model, precision):
    wanted, one = training(model, epochs=8), training(model, epochs=8, precision=precision)
    # Steps in float16 begin with a factor that is too large, and are left out until it is not.
    ran(wanted)
    ran(one)
    assert one.account.history[-1][1] == pytest.approx(wanted.account.history[-1][1], rel=0.05)
    assert all(weight.dtype == torch.float32 for weight in one.moved().values())


def test_the_best_epoch_is_chosen_on_valid_and_training_ends_when_patience_does(model):
    one = training(model, epochs=30, learning_rate=0.03, patience=2, clip=None)
    found = ran(one)
    losses = [row[1] for row in one.account.history]
    best = int(np.argmin(losses)) + 1
    assert one.selected["epoch"] == best
    assert len(losses) == min(best + 2, 30)
    judged = one._predicted(one.valid)[1]
    assert judged == pytest.approx(losses[best - 1], rel=1e-5)
    same(found, one.best)
    by_metric = training(model, epochs=6, learning_rate=0.03, patience=None, select="metric")
    ran(by_metric)
    metric = [row[2] for row in by_metric.account.history]
    assert by_metric.selected["epoch"] == int(np.argmax(metric)) + 1


def test_only_the_start_of_a_long_protein_is_trained_on(model):
    one = training(model, "secondary_structure", crop=20)
    sequences, truth, items = one.train.taken(range(5))
    assert {len(sequence) for sequence in sequences} == {20}
    assert all(len(labels) == 20 for labels in truth)
    assert items == sum(int((labels >= 0).sum()) for labels in truth)
    assert max(len(one.valid.sequence(row)) for row in range(5)) > 20


def test_windows_of_a_long_protein_are_those_of_the_probe(model):
    from tape_bench.embedding.in_memory import represent

    one = training(model, "secondary_structure")
    one.scorer.window = 30
    one.scorer.eval()
    sequence = one.valid.sequence(0)
    with torch.no_grad():
        mine = one.scorer._states([sequence, sequence[:10]]).residues.numpy()
    its = represent(model, [sequence, sequence[:10]], "residues", window=30)
    np.testing.assert_allclose(mine, np.concatenate([its[sequence], its[sequence[:10]]]), atol=1e-5)


def test_the_folder_of_a_trained_model_says_what_it_is(model, tmp_path):
    one = training(model, moves="lora")
    ran(one)
    trained.write(one, model.identity, "f" * 64, tmp_path)
    about = trained.read_about(tmp_path)
    assert about.base.weights_digest == model.identity.weights_digest
    assert about.lora is not None
    assert about.what_moved == "low ranks of the encoder, and head"
    assert {path.name for path in tmp_path.iterdir()} == {
        "tape-bench.json",
        "head.safetensors",
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    assert dataclasses.is_dataclass(one.plan)
