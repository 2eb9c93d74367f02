"""Masked aggregation: updates modulo 2^64 under three streams, of which only sums are opened.

Pure, as all of the protocol: keys, vectors and documents in, vectors and statements out. Nothing in
the product calls it yet; docs/masking.md has every byte.
"""
