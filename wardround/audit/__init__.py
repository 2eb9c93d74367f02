"""Audits of a study from chain and store alone: replay, evidence, challenges, archives."""
