"""See what happened: an index of the contract's events, its pages, its terminal view, its proofs.

Nothing here holds a key or sends a transaction.
"""
