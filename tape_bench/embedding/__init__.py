"""Every distinct sequence of a run turned into a representation, once."""
