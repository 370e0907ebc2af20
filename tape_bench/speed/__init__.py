"""How fast a model runs here, beside what the machine can do."""
