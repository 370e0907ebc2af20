"""Two models, or two runs of one, set against each other."""
