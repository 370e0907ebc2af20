"""What is trained: all of an encoder, low ranks added to it, its last block, or the head alone."""

from __future__ import annotations

from tape_bench.errors import UsageError
from tape_bench.models import lora
from tape_bench.models.trainable import LORA_MAPS, TrainableNetwork
from tape_bench.protocols.finetune.recipe import Recipe
from tape_bench.protocols.finetune.scorer import Scorer


def choose(network: TrainableNetwork, recipe: Recipe) -> None:
    """Let what the recipe names be trained, and nothing else of an encoder.

    Low ranks are drawn from torch's random numbers.

    Raises:
        UsageError: the encoder has fewer blocks than are to be frozen, or no map to add to.
    """
    blocks = network.blocks
    if recipe.frozen > len(blocks):
        raise UsageError(
            f"{recipe.frozen} blocks cannot be frozen: the model has {len(blocks)}",
            fix=f"choose frozen from 0 to {len(blocks)}",
        )
    if recipe.moves == "lora":
        network.requires_grad_(False)
        lora.attach(network, rank_of(recipe))
        for block in blocks[: recipe.frozen]:
            block.requires_grad_(False)
        if not any(weight.requires_grad for weight in network.parameters()):
            raise UsageError(
                f"the model has none of the maps {', '.join(recipe.lora_maps)}",
                fix=f"choose lora_maps among {', '.join(LORA_MAPS)}",
            )
    elif recipe.moves == "head":
        network.requires_grad_(False)
    elif recipe.moves == "last":
        network.requires_grad_(False)
        blocks[-1].requires_grad_(True)
    elif recipe.frozen:
        for weight in network.below:
            weight.requires_grad_(False)
        for block in blocks[: recipe.frozen]:
            block.requires_grad_(False)


def rank_of(recipe: Recipe) -> lora.Rank:
    """Return what low ranks a recipe adds."""
    return lora.Rank(recipe.lora_rank, recipe.lora_alpha, recipe.lora_maps, recipe.lora_dropout)


def groups(scorer: Scorer, recipe: Recipe) -> list[dict[str, object]]:
    """Return what is trained, by rate and weight decay: matrices decay, biases and norms do not."""
    rate = recipe.learning_rate
    head_rate = rate if recipe.head_learning_rate is None else recipe.head_learning_rate
    found: list[dict[str, object]] = []
    for module, own in ((scorer.network, rate), (scorer.head, head_rate)):
        moved = [weight for weight in module.parameters() if weight.requires_grad]
        for decays in (True, False):
            chosen = [weight for weight in moved if (weight.dim() > 1) == decays]
            if chosen:
                decay = recipe.weight_decay if decays else 0.0
                found.append({"params": chosen, "lr": own, "rate": own, "weight_decay": decay})
    return found
