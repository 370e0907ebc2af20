"""Protocols: how a head gets from representations to predictions."""
