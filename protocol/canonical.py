"""Canonical JSON (RFC 8785): one value, one sequence of bytes, one digest."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import rfc8785

from protocol.errors import NotCanonical
from protocol.identifiers import Digest


def canonical_bytes(value: Any) -> bytes:
    """Write a JSON value in its RFC 8785 form.

    Raises:
        NotCanonical: the value has no such form (NaN, or an integer beyond 2**53).
    """
    try:
        return rfc8785.dumps(value)
    except rfc8785.CanonicalizationError as error:
        raise NotCanonical("value", str(error)) from error


def canonical_digest(value: Any) -> Digest:
    """SHA-256 of the RFC 8785 form, 32 bytes."""
    return sha256_digest(canonical_bytes(value))


def sha256_digest(data: bytes | memoryview) -> Digest:
    """SHA-256 of bytes as they stand, 32 bytes."""
    return Digest(sha256(data).digest())


def parse_canonical(data: bytes | memoryview, what: str) -> Any:
    """Read JSON that must already be in its RFC 8785 form.

    Args:
        data: the document's bytes; the caller has bounded their length.
        what: the document's name, for the error.
    Raises:
        NotCanonical: not JSON, or JSON written in any other way.
    """
    text = bytes(data)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise NotCanonical(what, f"not JSON: {error}") from error
    if canonical_bytes(value) != text:
        raise NotCanonical(what, "its bytes differ from the RFC 8785 form of its value")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
