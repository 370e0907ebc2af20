"""TAPE's own transformer."""
