"""A run: planned, carried through, scored."""
