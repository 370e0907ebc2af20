"""Records and published scores in one table."""
