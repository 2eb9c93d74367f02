"""How the guard and its callers speak: one request and one answer a connection, on a local socket.

Each is a document in RFC 8785 form behind its length, 4 bytes, big-endian. A request may name the
lengths of vectors, whose bytes follow it as they are. Lengths are checked before a byte is read,
and everything has a deadline, however slowly it trickles in.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from wardround.protocol.canonical import canonical_bytes, parse_canonical
from wardround.protocol.errors import Malformed

#: The largest is a signing request: a report of 16 KiB, escaped, and a few digests.
DOCUMENT_MAX_BYTES = 1 << 17
_HEADER_BYTES = 4
_PATH_MAX_BYTES = 100


class Wire:
    """One end of a connection, with a deadline for everything sent and received."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + seconds

    def extend(self, seconds: float) -> None:
        """Set a new deadline from now on."""
        self._deadline = time.monotonic() + seconds

    def send(self, document: Any, parts: Sequence[bytes | memoryview] = ()) -> None:
        """Send a document, and bytes after it.

        Raises:
            OSError: the other side has gone, or the deadline is over.
            Malformed: the document is too long to be read.
        """
        data = canonical_bytes(document)
        if len(data) > DOCUMENT_MAX_BYTES:
            raise Malformed("document", f"{len(data)} bytes exceed {DOCUMENT_MAX_BYTES}")
        self._wait()
        self._connection.sendall(len(data).to_bytes(_HEADER_BYTES, "big") + data)
        for part in parts:
            self._wait()
            self._connection.sendall(part)

    def receive(self) -> Any:
        """Receive a document.

        Raises:
            Malformed: too long, or cut off; not in RFC 8785 form.
            OSError: the deadline is over.
        """
        length = int.from_bytes(self.receive_bytes(_HEADER_BYTES), "big")
        if length > DOCUMENT_MAX_BYTES:
            raise Malformed("document", f"{length} bytes exceed {DOCUMENT_MAX_BYTES}")
        return parse_canonical(self.receive_bytes(length), "document")

    def receive_bytes(self, count: int) -> bytes:
        """Receive exactly so many bytes; the caller has bounded the number.

        Raises:
            Malformed: the other side stops before.
            OSError: the deadline is over.
        """
        return bytes(self.receive_memory(count))

    def receive_memory(self, count: int) -> memoryview:
        """Receive exactly so many bytes where they stay; the caller has bounded the number.

        Returns:
            Read-only; the system gives memory as it is filled.

        Raises:
            Malformed: the other side stops before.
            OSError: the deadline is over.
        """
        data = np.empty(count, np.uint8).data
        got = 0
        while got < count:
            self._wait()
            length = self._connection.recv_into(data[got:])
            if not length:
                raise Malformed("message", f"it ends after {got} of {count} bytes")
            got += length
        return data.toreadonly()

    def _wait(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        self._connection.settimeout(left)


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """Give an address for a socket's path, which the system limits to some 100 bytes."""
    text = str(path)
    if len(os.fsencode(text)) <= _PATH_MAX_BYTES:
        yield text
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
