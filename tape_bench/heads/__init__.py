"""Heads: small networks on frozen representations, and the loop that trains them."""
