"""Representations of a user's own proteins, written to a file."""
