"""The protocol `zero_shot`: planned in `plan`, scored in `likelihoods`."""
