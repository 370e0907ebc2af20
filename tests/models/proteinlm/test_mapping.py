"""The table of names is complete, unambiguous, and knows the old spellings."""

from __future__ import annotations

from dataclasses import replace

import torch

from tape_bench.models.controls.untrained import SHAPES
from tape_bench.models.proteinlm import ProteinLMConfig
from tape_bench.models.proteinlm.checkpoint import build_encoder
from tape_bench.models.proteinlm.mapping import VOCABULARY, flatten, nest, weights


def test_the_table_names_exactly_the_networks_tensors(config: ProteinLMConfig) -> None:
    for variant in (config, replace(config, token_types=2), replace(config, mlm_head=False)):
        with torch.device("meta"):
            state = build_encoder(variant, vocabulary=VOCABULARY).state_dict()
        assert {name: weight.shape for name, weight in weights(variant).items()} == {
            name: tuple(tensor.shape) for name, tensor in state.items()
        }


def test_no_name_stands_twice(config: ProteinLMConfig) -> None:
    found = list(weights(config).values())
    huggingface = [name for weight in found for name in weight.huggingface]
    assert len(set(huggingface)) == len(huggingface)
    megatron = [weight.megatron.format(weight.layer) for weight in found]
    assert len(set(megatron)) == len(megatron)


def test_the_200m_has_the_published_number_of_parameters() -> None:
    """203.9 M and 1.05 M in the head, with 128 rows of words; 97 of them are padding."""
    count = sum(torch.Size(weight.shape).numel() for weight in weights(SHAPES[NAME]).values())
    head = 1024 * 1024 + 3 * 1024
    padding = 97 * 1024
    assert round((count - VOCABULARY - head + padding) / 1e6, 1) == 203.9


NAME = "proteinlm-200m"


def test_flatten_makes_old_spellings_current() -> None:
    one = torch.ones(1)
    current = {
        "language_model": {
            "embedding": {"word_embeddings": {"weight": one}},
            "transformer": {"layers.0.input_layernorm.weight": one},
        }
    }
    old = {
        "language_model": {
            "word_embeddings.weight": one,
            "transformer.layers.0.input_layernorm.weight": one,
        }
    }
    doubled = {"language_model": {"transformer": {"transformer.final_layernorm.bias": one}}}
    assert flatten(old) == flatten(current)
    assert list(flatten(doubled)) == ["language_model.transformer.final_layernorm.bias"]


def test_nest_is_the_inverse_of_flatten() -> None:
    one = torch.ones(1)
    model = {
        "language_model": {
            "embedding": {
                "word_embeddings": {"weight": one},
                "position_embeddings": {"weight": one},
            },
            "transformer": {"layers.0.mlp.dense_h_to_4h.bias": one, "final_layernorm.bias": one},
        },
        "lm_head": {"bias": one, "dense.weight": one},
        "word_embeddings_for_head": {"weight": one},
    }
    assert nest(flatten(model)) == model
