"""Checkpoints as Megatron-LM writes them, in pieces."""
