"""The coordinator's side: collect, verify, aggregate, score, close. Start with ``round.py``."""
