"""Connections to the door: each address has a share of them, and none may stay without a request.

uvicorn waits for ever for a request, asyncio for a minute for a TLS handshake, and neither asks who
holds the others. The share is taken when a connection is accepted, before TLS.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

CONNECTIONS_MAX = 1024
#: Of one address. A thousand silent ones from one machine leave room for others, and hundreds of
#: sites may come from one hospital's address: a node holds one or two.
CONNECTIONS_OF_ONE_ADDRESS = CONNECTIONS_MAX // 2
#: For a TLS handshake; then from a connection's start, or its last answer, to the next request.
HEAD_SECONDS = 10.0
#: Each connection may have another one to the SuperLink; the rest is for files.
_FILES = 2 * CONNECTIONS_MAX + 256


class Listener(socket.socket):
    """A listening socket that refuses what is beyond the share of an address, or of all."""

    def __init__(self, plain: socket.socket, held: Counter[str]) -> None:
        """Take over a socket; ``held`` counts the connections by address, of all listeners."""
        super().__init__(plain.family, plain.type, plain.proto, plain.detach())
        self._held = held

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept one connection.

        Raises:
            ConnectionAbortedError: it was refused; asyncio goes on with the next.
        """
        plain, address = super().accept()
        source = _source(address[0])
        if (
            self._held[source] >= CONNECTIONS_OF_ONE_ADDRESS
            or self._held.total() >= CONNECTIONS_MAX
        ):
            plain.close()
            raise ConnectionAbortedError(f"{source} has its share of connections")
        return _Held(plain, self._held, source), address


class _Held(socket.socket):
    """A connection that counts until it is closed."""

    def __init__(self, plain: socket.socket, held: Counter[str], source: str) -> None:
        super().__init__(plain.family, plain.type, plain.proto, plain.detach())
        self._held: Counter[str] | None = held
        self._source = source
        held[source] += 1

    def close(self) -> None:
        super().close()
        held, self._held = self._held, None
        if held is not None:
            held[self._source] -= 1
            if not held[self._source]:
                del held[self._source]


class PromptProtocol(H11Protocol):
    """Ends a connection that brings no request: uvicorn's own timer stops at its first byte."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_request_after(None)

    def on_response_complete(self) -> None:
        """Begin to wait for the next one."""
        answered = self.cycle
        super().on_response_complete()
        self._await_request_after(answered)

    def _await_request_after(self, answered: RequestResponseCycle | None) -> None:
        self.loop.call_later(HEAD_SECONDS, self._end_unless_asked, answered)

    def _end_unless_asked(self, answered: RequestResponseCycle | None) -> None:
        if self.cycle is answered:
            self.transport.close()


class ArrivalsLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers wait less for a TLS handshake, which uvicorn does not let set."""

    async def create_server(self, *args: Any, **named: Any) -> asyncio.Server:
        """Create a server as asyncio does."""
        return await super().create_server(
            *args, **named, ssl_handshake_timeout=HEAD_SECONDS, ssl_shutdown_timeout=1.0
        )


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on every address of a host's name.

    Raises:
        OSError: the name has no address, or the port is in use.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard > soft:
        files = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), hard))
    held: Counter[str] = Counter()
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = {(family, address) for family, _, _, _, address in found}
    return [
        Listener(socket.create_server(address, family=family), held)
        for family, address in sorted(addresses)
    ]


def _source(address: str) -> str:
    """Return what counts as one address: of IPv6 the first half, which one network owns."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(IPv6Address(int(found) >> 64 << 64))
    return str(found)
