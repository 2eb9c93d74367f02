"""The index: the contract's events and what follows from them, in SQLite, equal to the chain."""
