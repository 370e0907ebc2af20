"""Whether something got worse."""
