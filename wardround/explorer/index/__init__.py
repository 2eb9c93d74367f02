"""The index: what the contract's events say, in SQLite, kept equal to the chain."""
