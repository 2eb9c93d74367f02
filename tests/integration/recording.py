"""A proxy on a site's outgoing connections that writes down every byte that leaves."""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wardround.transport.certificates import SERVER_CERTIFICATE, SERVER_KEY, Address

_PART_BYTES = 65_536


@dataclass(frozen=True)
class Sent:
    """One request that left: its kind, its headers, its body."""

    kind: str
    head: bytes
    body: bytes

    @property
    def size(self) -> int:
        return len(self.body)


@dataclass
class Recorder:
    """Listens on loopback, passes everything on, and keeps what clients send.

    With certificates it ends TLS and speaks TLS to the upstream; without, it passes plain bytes.
    """

    upstream: Address
    tls: Path | None = None
    authority: Path | None = None
    streams: list[bytearray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._server.getsockname()[1])
        self._inside: ssl.SSLContext | None = None
        self._outside: ssl.SSLContext | None = None
        if self.tls is not None:
            self._inside = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._inside.load_cert_chain(self.tls / SERVER_CERTIFICATE, self.tls / SERVER_KEY)
            self._outside = ssl.create_default_context(cafile=str(self.authority))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # A thread that waits in accept() keeps the port, unless it is woken.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, connection: socket.socket) -> None:
        kept = bytearray()
        self.streams.append(kept)
        with ExitStack() as stack, suppress(OSError):
            client = stack.enter_context(connection)
            if self._inside is not None:
                client = self._inside.wrap_socket(connection, server_side=True)
                stack.enter_context(client)
            upstream = (self.upstream.host, self.upstream.port)
            server = stack.enter_context(socket.create_connection(upstream, 10))
            server.settimeout(None)
            if self._outside is not None:
                server = self._outside.wrap_socket(server, server_hostname=self.upstream.host)
                stack.enter_context(server)
            back = threading.Thread(target=_pump, args=(server, client, None), daemon=True)
            back.start()
            _pump(client, server, kept)
            back.join(30)

    def sent(self) -> Iterator[Sent]:
        """Take the recorded streams apart into requests."""
        for stream in list(self.streams):
            yield from requests_of(bytes(stream))


def _pump(source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
    with suppress(OSError):
        while part := source.recv(_PART_BYTES):
            if kept is not None:
                kept += part
            target.sendall(part)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def requests_of(stream: bytes) -> Iterator[Sent]:
    """Cut an HTTP/1.1 stream into requests; a request that was cut off is one too."""
    at = 0
    while at < len(stream):
        end = stream.find(b"\r\n\r\n", at)
        if end < 0:
            yield Sent("cut off", stream[at:], b"")
            return
        head = stream[at:end]
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        length = int(found[1]) if found else 0
        body = stream[end + 4 : end + 4 + length]
        at = end + 4 + length
        path = head.split(b" ")[1].decode("ascii")
        yield Sent(_kind(path, body), head, body)


def _kind(path: str, body: bytes) -> str:
    if path.startswith("/v1/fleet/"):
        return path.removeprefix("/v1/fleet/")
    try:
        return str(json.loads(body)["method"])
    except (ValueError, KeyError, TypeError):
        return path


def traces_of(rows: npt.NDArray[np.float32]) -> set[bytes]:
    """Ways in which a row may be written: floats of either length and order, whole or a good part.

    A part is six values in sequence that are not nearly all alike, so that it names one row.
    """
    found = set()
    for row in rows.reshape(len(rows), -1):
        parts = [row[k : k + 6] for k in range(max(1, row.size - 5))]
        for part in [row, *(one for one in parts if len(set(one.tolist())) >= 5)]:
            for kind in ("<f4", ">f4", "<f8", ">f8"):
                found.add(part.astype(kind).tobytes())
    return found


def texts_of(file: Path) -> set[bytes]:
    """Each line of a data file, as it is and with other separators."""
    found = set()
    for line in file.read_text("ascii").splitlines():
        cells = line.split(",")
        if len(cells) < 10:
            continue
        plain = [cell.removesuffix(".0") for cell in cells]
        for values in (cells, plain):
            found |= {mark.join(values[:9]).encode() for mark in (",", ", ", ";", "\t", " ")}
    return found
