"""Representations computed elsewhere, looked up instead of computed."""
