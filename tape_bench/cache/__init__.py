"""Representations kept on disk between runs."""
