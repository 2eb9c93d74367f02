"""Fetch one small file over HTTPS, bounded in size and time."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request

from wardround.host.reason import reason_of
from wardround.learning.errors import download_failed, file_altered

CHUNK_BYTES = 8192


def sha256_hex(data: bytes) -> str:
    """Digest bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def fetch(url: str, sha256: str, *, expected_bytes: int, timeout_seconds: float) -> bytes:
    """Download a file whose content is known in advance.

    Args:
        url: starts with ``https://``.
        sha256: that the content must have, in lower-case hexadecimal.
        expected_bytes: its length; not one byte more is kept.
        timeout_seconds: for the whole transfer, and for each wait within it.
    Raises:
        DataError: not HTTPS, unreachable, refused, too slow; the server gave something else.
    """
    if not url.startswith("https://"):
        raise download_failed(url, "only https is used")
    deadline = time.monotonic() + timeout_seconds
    data = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=timeout_seconds) as reply:  # noqa: S310 (https, above)
            while chunk := reply.read1(min(CHUNK_BYTES, expected_bytes + 1 - len(data))):
                data += chunk
                if len(data) > expected_bytes:
                    break
                if time.monotonic() > deadline:
                    raise download_failed(url, f"not done after {timeout_seconds:g} seconds")
    except urllib.error.HTTPError as exc:
        exc.close()
        raise download_failed(url, f"the server answered {exc.code}") from exc
    except (OSError, http.client.HTTPException) as exc:
        cause = getattr(exc, "reason", None)
        reason = reason_of(cause if isinstance(cause, Exception) else exc)
        raise download_failed(url, reason) from exc
    found = sha256_hex(bytes(data))
    if found != sha256:
        raise file_altered(url, sha256, found)
    return bytes(data)
