"""One network for many models: transformers whose sequences lie end to end, without padding."""
