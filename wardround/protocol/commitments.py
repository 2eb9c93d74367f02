"""What a round commits to by name, beside its contributions, model and manifest.

The contract keeps the root alone, so a new kind of commitment changes no layout on chain.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from wardround.protocol.identifiers import Digest, Root
from wardround.protocol.merkle import entries_root

#: Names that this version knows: none yet. A reader refuses any other.
KNOWN: frozenset[str] = frozenset()


def commitments_root(named: Mapping[str, Digest]) -> Root:
    """Commit to named documents.

    Args:
        named: SHA-256 of each, 32 bytes, by its name.
    Returns:
        The tree hash over ``SHA-256(name in UTF-8) || digest``, ascending by name as bytes; of no
        names, the SHA-256 of nothing.
    Source:
        RFC 9162 section 2.1.
    """
    rows = sorted((name.encode(), digest) for name, digest in named.items())
    return entries_root(sha256(name).digest() + digest for name, digest in rows)
