"""Records and published figures in one table."""
