"""THUDM's ProteinLM, from Megatron-LM checkpoints."""

from tape_bench.models.proteinlm.adapter import ProteinLM, load
from tape_bench.models.proteinlm.checkpoint import open_checkpoint
from tape_bench.models.proteinlm.config import Given, ProteinLMConfig
from tape_bench.models.proteinlm.reading import Reading

__all__ = ["Given", "ProteinLM", "ProteinLMConfig", "Reading", "load", "open_checkpoint"]
