"""Committing to a large vector: its Merkle root beside a plain SHA-256 of the same bytes."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from benchmarks.figure import Detail, Figure, Result, Target, medians_of, seconds_of
from wardround.protocol.cid import cid_of
from wardround.protocol.merkle import vector_root


def measure(quick: bool) -> Result:
    """Measure 100 MB on one core."""
    size = 100_000 if quick else 100_000_000
    data = np.random.default_rng(7).bytes(size)
    ours, peer, cid = medians_of(
        3 if quick else 7,
        lambda: seconds_of(lambda: vector_root(data)),
        lambda: seconds_of(lambda: sha256(data).digest()),
        lambda: seconds_of(lambda: cid_of(data)),
    )
    return Result(
        figures=[
            Figure(
                f"vector root of {size / 1e6:g} MB",
                ours=size / ours / 1e9,
                peer=size / peer / 1e9,
                peer_name="plain SHA-256",
                unit="GB/s",
                target=Target(0.3, at_most=False),
                absolute=True,
            )
        ],
        details={"hashing": [Detail("content identifier", size / cid / 1e9, "GB/s")]},
    )
