"""Chains for development: the embedded one, Anvil, and the journal that repeats them."""
