"""Models that have learned nothing: what a score is worth beside them."""
