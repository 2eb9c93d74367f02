"""The digest of an application's code, pinned on chain beside the specification."""

from __future__ import annotations

from collections.abc import Mapping

from wardround.protocol.canonical import canonical_digest, sha256_digest
from wardround.protocol.identifiers import Digest


def code_digest(files: Mapping[str, bytes]) -> Digest:
    """Digest a set of source files.

    Taken over the sorted list of paths and SHA-256 digests, and not over an archive, whose bytes
    depend on the compressor.

    Args:
        files: content by path, relative to the application's root, with forward slashes.
    Returns:
        SHA-256 of the RFC 8785 form of ``[[path, sha256 hex], ...]``.
    """
    rows = [[path, sha256_digest(files[path]).hex()] for path in sorted(files)]
    return canonical_digest(rows)
