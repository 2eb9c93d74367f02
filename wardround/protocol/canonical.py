"""Canonical JSON (RFC 8785): one value, one sequence of bytes, one digest."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import rfc8785

from wardround.protocol.errors import Malformed
from wardround.protocol.identifiers import Digest

#: No document of ours is nested deeper than six levels. Python's parser recurses in C, and some
#: libraries raise the recursion limit beyond what the stack holds.
NESTING_MAX = 64
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)


def canonical_bytes(value: Any) -> bytes:
    """Write a JSON value in its RFC 8785 form.

    Raises:
        Malformed: the value has no such form (NaN, an integer beyond 2**53, half a surrogate
            pair, or nested without end).
    """
    return _written(value, "value")


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
        Malformed: not JSON, or JSON written in any other way.
    """
    written = bytes(data)
    try:
        text = written.decode("utf-8")
        if _nesting(text) > NESTING_MAX:
            raise Malformed(what, f"nested deeper than {NESTING_MAX} levels")
        value = json.loads(text, parse_int=_number, parse_constant=_refuse_constant)
    except ValueError as error:
        raise Malformed(what, f"not JSON: {error}") from error
    if _written(value, what) != written:
        raise Malformed(what, "its bytes differ from the RFC 8785 form of its value")
    return value


def _written(value: Any, what: str) -> bytes:
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise Malformed(what, str(error)) from error


def _nesting(text: str) -> int:
    """How deep lists and tables are nested at most, without reading them."""
    depth = deepest = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        first = match.group()[0]
        if first in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif first in "]}":
            depth -= 1
    return deepest


def _number(text: str) -> int | float:
    """Read an integer; beyond 2**53 it is a double, as every number of JSON is to RFC 8785."""
    value = int(text)
    return value if abs(value) < 2**53 else float(text)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
