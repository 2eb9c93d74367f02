"""The coordinator's side: collect, verify, aggregate, settle, close. Start with ``round.py``."""
