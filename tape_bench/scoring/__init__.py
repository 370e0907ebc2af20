"""Metrics with precise identities, and intervals by protein."""
